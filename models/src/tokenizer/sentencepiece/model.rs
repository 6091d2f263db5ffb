//! What a `tokenizer.model` says (`ModelProto` in sentencepiece's `sentencepiece_model.proto`).

use super::normaliser::Charsmap;
use super::protobuf::{Field, fields};

/// A model as it lies in the file.
#[derive(Debug)]
pub struct Model {
    /// The pieces by id.
    pub pieces: Vec<Piece>,
    /// Whether it is a BPE model rather than a unigram model.
    pub algorithm: ModelAlgorithm,
    /// BOS, if there is one.
    pub bos: Option<u32>,
    /// EOS, if there is one.
    pub eos: Option<u32>,
    /// Whether a space is put before a text.
    pub leading_space: bool,
    /// Whether spaces at both ends go and others become one.
    pub remove_extra_spaces: bool,
    /// What characters are replaced by.
    pub charsmap: Option<Charsmap>,
}

/// How a model cuts texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelAlgorithm {
    /// The likeliest of all cuts.
    Unigram,
    /// Merges in the order of scores.
    Merges,
}

/// A piece of the vocabulary.
#[derive(Debug)]
pub struct Piece {
    /// Its text.
    pub text: String,
    /// Its score: the order of merges, or the logarithm of its probability.
    pub score: f32,
    /// What it is.
    pub kind: PieceKind,
}

/// What a piece is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PieceKind {
    /// A piece of text.
    Normal,
    /// What stands for anything that is not in the vocabulary.
    Unknown,
    /// A mark that is no text.
    Control,
    /// A piece that is never cut.
    UserDefined,
    /// A piece that is cut again.
    Unused,
    /// A byte.
    Byte,
}

impl Model {
    /// Reads a model; what it asks for and what is not followed is refused.
    pub fn read(bytes: &[u8]) -> Result<Model, String> {
        if is_tiktoken(bytes) {
            return Err("this is a vocabulary of tiktoken; put the model's tokenizer.json beside it".into());
        }
        let mut model = Model {
            pieces: Vec::new(),
            algorithm: ModelAlgorithm::Unigram,
            bos: Some(1),
            eos: Some(2),
            leading_space: true,
            remove_extra_spaces: true,
            charsmap: None,
        };
        for field in fields(bytes) {
            match field? {
                (1, Field::Bytes(piece)) => model.pieces.push(read_piece(piece, model.pieces.len())?),
                (2, Field::Bytes(trainer)) => model.read_trainer(trainer)?,
                (3, Field::Bytes(normaliser)) => model.read_normaliser(normaliser)?,
                (5, Field::Bytes(denormaliser)) => refuse_denormaliser(denormaliser)?,
                _ => {}
            }
        }
        let count = model.pieces.len();
        if count == 0 {
            return Err("it has no pieces; download it again".into());
        }
        let inside = |id: &u32| (*id as usize) < count;
        (model.bos, model.eos) = (model.bos.filter(inside), model.eos.filter(inside));
        Ok(model)
    }

    fn read_trainer(&mut self, message: &[u8]) -> Result<(), String> {
        for field in fields(message) {
            match field? {
                (3, Field::Integer(1)) => self.algorithm = ModelAlgorithm::Unigram,
                (3, Field::Integer(2)) => self.algorithm = ModelAlgorithm::Merges,
                (3, Field::Integer(other)) => {
                    let name = ["word", "character"].get(other.wrapping_sub(3) as usize).unwrap_or(&"unknown");
                    return Err(format!("it is a {name} model, and unigram and BPE models are supported"));
                }
                (24, Field::Integer(1)) => return Err("it puts spaces after words, which is not supported".into()),
                // Negative where there is none.
                (41, Field::Integer(id)) => self.bos = u32::try_from(id).ok(),
                (42, Field::Integer(id)) => self.eos = u32::try_from(id).ok(),
                _ => {}
            }
        }
        Ok(())
    }

    fn read_normaliser(&mut self, message: &[u8]) -> Result<(), String> {
        for field in fields(message) {
            match field? {
                (2, Field::Bytes([])) => {}
                (2, Field::Bytes(charsmap)) => {
                    let read = Charsmap::read(charsmap);
                    self.charsmap = Some(read.ok_or("its precompiled_charsmap is damaged; download it again")?);
                }
                (3, Field::Integer(flag)) => self.leading_space = flag != 0,
                (4, Field::Integer(flag)) => self.remove_extra_spaces = flag != 0,
                (5, Field::Integer(0)) => return Err("it leaves spaces as they are, which is not supported".into()),
                _ => {}
            }
        }
        Ok(())
    }
}

fn read_piece(message: &[u8], id: usize) -> Result<Piece, String> {
    let mut piece = Piece { text: String::new(), score: 0.0, kind: PieceKind::Normal };
    for field in fields(message) {
        match field? {
            (1, Field::Bytes(text)) => {
                let text = std::str::from_utf8(text);
                piece.text = text.map_err(|_| format!("piece {id} is not UTF-8; download it again"))?.to_owned();
            }
            (2, Field::Float(score)) => piece.score = score,
            (3, Field::Integer(kind)) => piece.kind = piece_kind(kind, id)?,
            _ => {}
        }
    }
    Ok(piece)
}

fn piece_kind(number: u64, id: usize) -> Result<PieceKind, String> {
    Ok(match number {
        1 => PieceKind::Normal,
        2 => PieceKind::Unknown,
        3 => PieceKind::Control,
        4 => PieceKind::UserDefined,
        5 => PieceKind::Unused,
        6 => PieceKind::Byte,
        other => return Err(format!("piece {id} is of kind {other}, which is not known")),
    })
}

fn refuse_denormaliser(message: &[u8]) -> Result<(), String> {
    for field in fields(message) {
        if let (2, Field::Bytes([_, ..])) = field? {
            return Err("it replaces characters when it decodes, which is not supported".into());
        }
    }
    Ok(())
}

/// Whether a file begins as tiktoken's do: base64, a space and a rank.
fn is_tiktoken(bytes: &[u8]) -> bool {
    let Some(line) = bytes.get(..64).unwrap_or(bytes).split(|byte| *byte == b'\n').next() else { return false };
    let mut parts = line.split(|byte| *byte == b' ');
    let (first, second) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/=".contains(byte);
    !first.is_empty() && first.iter().all(base64) && !second.is_empty() && second.iter().all(u8::is_ascii_digit)
}

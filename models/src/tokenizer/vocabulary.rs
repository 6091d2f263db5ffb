//! Token ids and the bytes that they stand for: what decoding needs, whatever file a tokenizer is from.

use std::borrow::Cow;

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// A piece of text, spelled as [`Spelling`] says.
    Normal,
    /// A mark that is no text, such as the beginning of a sequence.
    Control,
    /// A piece of text that is taken out of a text before all else, spelled as it is.
    UserDefined,
    /// One byte.
    Byte(u8),
    /// An id without a token.
    Unused,
}

/// The byte of a text such as `<0x0A>`.
pub(super) fn byte(text: &str) -> Option<u8> {
    let digits = text.strip_prefix("<0x")?.strip_suffix('>')?;
    if digits.len() == 2 { u8::from_str_radix(digits, 16).ok() } else { None }
}

/// How the texts of tokens spell bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spelling {
    /// Each character is one byte, by the alphabet of GPT-2.
    ByteLevel,
    /// UTF-8 in which `▁` is a space.
    Pieces {
        /// Whether encoding puts a space before a text, which decoding takes away again.
        leading_space: bool,
    },
}

/// One token.
#[derive(Debug, Clone)]
pub struct Token {
    /// Its text as the file spells it.
    pub text: String,
    /// What it is.
    pub kind: TokenKind,
}

/// All tokens by id.
#[derive(Debug)]
pub struct Vocabulary {
    /// The tokens.
    pub tokens: Vec<Token>,
    /// How their texts spell bytes.
    pub spelling: Spelling,
}

impl Vocabulary {
    /// The bytes that a token stands for: none for marks and for ids without a token.
    pub fn bytes(&self, id: u32) -> Cow<'_, [u8]> {
        let Some(token) = self.tokens.get(id as usize) else { return Cow::Borrowed(&[]) };
        match (token.kind, self.spelling) {
            (TokenKind::Control | TokenKind::Unused, _) => Cow::Borrowed(&[]),
            (TokenKind::Byte(byte), _) => Cow::Owned(vec![byte]),
            (TokenKind::UserDefined, Spelling::ByteLevel) => Cow::Borrowed(token.text.as_bytes()),
            (TokenKind::Normal, Spelling::ByteLevel) => byte_level(&token.text),
            (TokenKind::Normal | TokenKind::UserDefined, Spelling::Pieces { .. }) => spaced(&token.text),
        }
    }
}

fn spaced(text: &str) -> Cow<'_, [u8]> {
    match text.contains(SPACE) {
        true => Cow::Owned(text.replace(SPACE, " ").into_bytes()),
        false => Cow::Borrowed(text.as_bytes()),
    }
}

/// The character that stands for a space in pieces.
pub(super) const SPACE: char = '▁';

/// The bytes that characters of GPT-2's alphabet stand for; a text with any other is taken as it is.
fn byte_level(text: &str) -> Cow<'_, [u8]> {
    match text.chars().map(alphabet_byte).collect() {
        Some(bytes) => Cow::Owned(bytes),
        None => Cow::Borrowed(text.as_bytes()),
    }
}

/// The byte of a character: printable ones stand for themselves, the other 68 bytes follow 255 in order.
fn alphabet_byte(character: char) -> Option<u8> {
    let code = u32::from(character);
    match code {
        0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => Some(code as u8),
        0x100..=0x120 => Some((code - 0x100) as u8),
        0x121..=0x142 => Some((code - 0x121) as u8 + 0x7f),
        0x143 => Some(0xad),
        _ => None,
    }
}

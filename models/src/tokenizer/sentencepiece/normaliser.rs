//! How a text is spelled before it is cut: characters replaced, spaces collapsed and written as `▁`.

use super::{Place, SPACE, Unbroken};

/// Where a space is put before a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeadingSpace {
    /// Nowhere.
    Never,
    /// Before the whole text.
    Front,
    /// Before each stretch between special tokens too, as llama.cpp and the first tokenizers of Llama have it.
    EachStretch,
}

/// The `NormalizerSpec` of a model.
#[derive(Debug)]
pub struct Normaliser {
    /// Where a space is put before a text.
    pub leading_space: LeadingSpace,
    /// Whether spaces at both ends go and others become one.
    pub remove_extra_spaces: bool,
    /// What characters are replaced by.
    pub charsmap: Option<Charsmap>,
    /// Pieces that are taken as they are.
    pub unbroken: Unbroken,
}

impl Normaliser {
    /// One that only writes spaces as `▁`.
    pub fn plain(leading_space: LeadingSpace) -> Normaliser {
        Normaliser { leading_space, remove_extra_spaces: false, charsmap: None, unbroken: Unbroken::default() }
    }

    /// The text as pieces spell it (`Normalizer::Normalize` in sentencepiece's `normalizer.cc`).
    pub fn spell(&self, text: &str, place: Place) -> String {
        let mut rest = text;
        if self.remove_extra_spaces && place != Place::AfterText {
            while let Some((" ", length)) = self.next(rest) {
                rest = &rest[length..];
            }
        }
        let mut spelled = String::with_capacity(rest.len() + SPACE.len_utf8());
        if rest.is_empty() {
            return spelled;
        }
        match (self.leading_space, place) {
            (LeadingSpace::EachStretch, Place::Front | Place::AfterToken) | (LeadingSpace::Front, Place::Front) => {
                spelled.push(SPACE);
            }
            _ => {}
        }
        let mut after_space = self.remove_extra_spaces && place != Place::AfterText;
        while let Some((mut piece, length)) = self.next(rest) {
            if after_space {
                piece = piece.trim_start_matches(' ');
            }
            spelled.extend(piece.chars().map(|character| if character == ' ' { SPACE } else { character }));
            if !piece.is_empty() {
                after_space = self.remove_extra_spaces && piece.ends_with(' ');
            }
            rest = &rest[length..];
        }
        if self.remove_extra_spaces {
            spelled.truncate(spelled.trim_end_matches(SPACE).len());
        }
        spelled
    }

    /// What the beginning of a text becomes, and how many bytes of it.
    fn next<'a>(&'a self, text: &'a str) -> Option<(&'a str, usize)> {
        let first = text.chars().next()?.len_utf8();
        if let Some(length) = self.unbroken.at(text) {
            return Some((&text[..length], length));
        }
        let replaced = self.charsmap.as_ref().and_then(|charsmap| charsmap.replace(text));
        Some(replaced.unwrap_or((&text[..first], first)))
    }
}

/// Replacements of characters: a trie as a double array (Darts-clone), whose values are places in a text.
#[derive(Debug)]
pub struct Charsmap {
    units: Vec<u32>,
    /// Each replacement ends with a zero.
    replacements: String,
}

impl Charsmap {
    /// Reads `precompiled_charsmap`: the bytes of the trie, the trie, and the replacements.
    pub fn read(bytes: &[u8]) -> Option<Charsmap> {
        let (length, rest) = bytes.split_first_chunk()?;
        let (trie, replacements) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        let units = trie.chunks_exact(4).map(|unit| u32::from_le_bytes([unit[0], unit[1], unit[2], unit[3]])).collect();
        Some(Charsmap { units, replacements: String::from_utf8(replacements.to_vec()).ok()? })
    }

    /// What the longest known beginning of a text becomes, and how many bytes it has.
    fn replace(&self, text: &str) -> Option<(&str, usize)> {
        let mut found = None;
        let mut node = offset(*self.units.first()?);
        for (index, byte) in text.bytes().enumerate() {
            node ^= u32::from(byte);
            let Some(unit) = self.unit(node) else { break };
            // A leaf has its highest bit set, and so is no byte's unit.
            if unit & 0x8000_00ff != u32::from(byte) {
                break;
            }
            node ^= offset(unit);
            if unit >> 8 & 1 == 1 {
                found = self.unit(node).map(|leaf| (leaf & 0x7fff_ffff, index + 1)).or(found);
            }
        }
        let (place, length) = found?;
        let replacement = self.replacements.get(place as usize..)?;
        // Whatever a file says, a replacement takes whole characters.
        text.is_char_boundary(length).then(|| (replacement.split('\0').next().unwrap_or_default(), length))
    }

    fn unit(&self, index: u32) -> Option<u32> {
        self.units.get(index as usize).copied()
    }
}

/// Where the children of a unit lie, to be combined with its own place.
fn offset(unit: u32) -> u32 {
    (unit >> 10) << ((unit & 1 << 9) >> 6)
}

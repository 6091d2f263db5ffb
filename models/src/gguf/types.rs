//! The tensor types of GGUF files that this build does not run: their names go into messages.

/// A tensor type of ggml that is no [`plywood_kernels::Format`].
pub struct Type {
    /// Its number in a tensor table.
    pub id: u32,
    /// Its name as GGUF tools spell it.
    pub name: &'static str,
    /// Elements of a block.
    pub block_elements: u64,
    /// Bytes of a block.
    pub block_bytes: u64,
}

const fn of(id: u32, name: &'static str, block_elements: u64, block_bytes: u64) -> Type {
    Type { id, name, block_elements, block_bytes }
}

/// The other types that ggml has or had blocks for (`ggml/include/ggml.h`, `gguf-py/gguf/constants.py`).
pub static TYPES: [Type; 7] = [
    of(9, "Q8_1", 32, 36),
    of(15, "Q8_K", 256, 292),
    of(24, "I8", 1, 1),
    of(25, "I16", 1, 2),
    of(26, "I32", 1, 4),
    of(27, "I64", 1, 8),
    of(41, "Q1_0", 128, 18),
];

/// The type with this number, if it is one that we know and do not run.
pub fn by_id(id: u32) -> Option<&'static Type> {
    TYPES.iter().find(|of| of.id == id)
}

#[cfg(test)]
mod tests {
    use plywood_kernels::Format;

    use super::TYPES;

    #[test]
    fn what_runs_is_not_listed_again() {
        let twice = TYPES.iter().filter(|of| Format::from_gguf_id(of.id).is_some()).map(|of| of.name);
        assert_eq!(twice.collect::<Vec<_>>(), [""; 0]);
    }
}

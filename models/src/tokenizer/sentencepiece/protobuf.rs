//! The fields of a protocol buffer message, read from bytes without a schema.

/// A field of a message.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Field<'a> {
    /// A whole number, a truth value or a choice.
    Integer(u64),
    /// A single-precision number.
    Float(f32),
    /// A text, bytes or a message.
    Bytes(&'a [u8]),
    /// Eight bytes of something.
    Other,
}

/// The fields of a message in their order, each with its number.
pub fn fields(message: &[u8]) -> impl Iterator<Item = Result<(u64, Field<'_>), String>> {
    let mut rest = message;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let field = field(&mut rest).ok_or_else(|| "it is no SentencePiece model, or damaged".to_owned());
        if field.is_err() {
            rest = &[];
        }
        Some(field)
    })
}

fn field<'a>(rest: &mut &'a [u8]) -> Option<(u64, Field<'a>)> {
    let key = integer(rest)?;
    let field = match key & 7 {
        0 => Field::Integer(integer(rest)?),
        1 => {
            take(rest, 8)?;
            Field::Other
        }
        2 => {
            let length = usize::try_from(integer(rest)?).ok()?;
            Field::Bytes(take(rest, length)?)
        }
        5 => Field::Float(f32::from_le_bytes(take(rest, 4)?.try_into().ok()?)),
        _ => return None,
    };
    Some((key >> 3, field))
}

/// A number in groups of 7 bits, the lowest first.
fn integer(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(rest, 1)?[0];
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(length)?;
    *rest = left;
    Some(taken)
}

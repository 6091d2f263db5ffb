//! The floating-point numbers of a block: where they lie, and whether they are finite.

use super::half_at;

/// How a number is stored, in little-endian order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NumberType {
    /// Half precision.
    Half,
    /// bfloat16.
    Bfloat,
    /// Single precision.
    Single,
    /// Double precision.
    Double,
    /// The exponent of a power of two (E8M0), of which the largest three overflow single precision.
    Exponent,
}

/// Where it lies.
#[derive(Debug, Clone, Copy)]
enum Location {
    /// From this byte on.
    Byte(usize),
    /// In these nibbles, the lowest first: twice the location of a byte, and one more for the byte's high nibble.
    Nibbles([usize; 4]),
}

/// A number that the elements of a block are scaled or shifted by, or a block's only element.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    number_type: NumberType,
    location: Location,
}

impl Scale {
    /// The half-precision number from a byte on.
    pub const fn half(byte: usize) -> Scale {
        Scale { number_type: NumberType::Half, location: Location::Byte(byte) }
    }

    /// The half-precision number in four nibbles, the lowest first.
    pub const fn half_in(nibbles: [usize; 4]) -> Scale {
        Scale { number_type: NumberType::Half, location: Location::Nibbles(nibbles) }
    }

    /// The bfloat16 number from a byte on.
    pub const fn bfloat(byte: usize) -> Scale {
        Scale { number_type: NumberType::Bfloat, location: Location::Byte(byte) }
    }

    /// The single-precision number from a byte on.
    pub const fn single(byte: usize) -> Scale {
        Scale { number_type: NumberType::Single, location: Location::Byte(byte) }
    }

    /// The double-precision number from a byte on.
    pub const fn double(byte: usize) -> Scale {
        Scale { number_type: NumberType::Double, location: Location::Byte(byte) }
    }

    /// The power of two whose exponent is a byte.
    pub const fn exponent(byte: usize) -> Scale {
        Scale { number_type: NumberType::Exponent, location: Location::Byte(byte) }
    }

    /// Whether it can be set to more than powers of two.
    pub fn takes_any_number(self) -> bool {
        self.number_type != NumberType::Exponent
    }

    /// Bytes of the number.
    fn bytes(self) -> usize {
        match self.number_type {
            NumberType::Exponent => 1,
            NumberType::Half | NumberType::Bfloat => 2,
            NumberType::Single => 4,
            NumberType::Double => 8,
        }
    }

    /// Whether any of its bits is in a byte of the block.
    pub fn is_in(self, byte: usize) -> bool {
        match self.location {
            Location::Byte(first) => (first..first + self.bytes()).contains(&byte),
            Location::Nibbles(nibbles) => nibbles.iter().any(|nibble| nibble / 2 == byte),
        }
    }

    /// Whether the number is finite in each of some blocks of this many bytes.
    pub fn is_finite(self, blocks: &[u8], block_bytes: usize) -> bool {
        // Without an end at the first that is not, so that the loops are vectorised: all weights pass here.
        let all = |finite: fn(&[u8]) -> bool, at: usize, bytes: usize| {
            let blocks = blocks.chunks_exact(block_bytes);
            blocks.fold(true, |all, block| all & block.get(at..at + bytes).is_some_and(finite))
        };
        match (self.location, self.number_type) {
            (Location::Byte(at), NumberType::Half) => all(|bytes| bytes[1] & 0x7c != 0x7c, at, 2),
            (Location::Byte(at), NumberType::Bfloat) => {
                all(|bytes| !(bytes[1] & 0x7f == 0x7f && bytes[0] & 0x80 != 0), at, 2)
            }
            (Location::Byte(at), NumberType::Single) => {
                all(|bytes| !(bytes[3] & 0x7f == 0x7f && bytes[2] & 0x80 != 0), at, 4)
            }
            (Location::Byte(at), NumberType::Double) => {
                // What is no finite f32 either.
                all(|bytes| (f64::from_le_bytes(std::array::from_fn(|at| bytes[at])) as f32).is_finite(), at, 8)
            }
            (Location::Byte(at), NumberType::Exponent) => all(|bytes| bytes[0] < 253, at, 1),
            (Location::Nibbles(nibbles), _) => {
                blocks.chunks_exact(block_bytes).all(|block| half_in(block, nibbles).is_finite())
            }
        }
    }

    /// Whether the number in any of some blocks is the largest of half precision, if that is how it is stored.
    pub fn is_saturated(self, blocks: &[u8], block_bytes: usize) -> bool {
        let Scale { number_type: NumberType::Half, location: Location::Byte(at) } = self else { return false };
        let largest = |block: &[u8]| half_at(&block[at..]).abs() >= half::f16::MAX.to_f32();
        blocks.chunks_exact(block_bytes).any(largest)
    }

    /// Sets the number in a block to the nearest there is.
    pub fn set(self, block: &mut [u8], number: f32) {
        let half = half::f16::from_f32(number);
        match (self.location, self.number_type) {
            (Location::Nibbles(nibbles), _) => {
                let mut bits = half.to_bits();
                for location in nibbles {
                    let shift = location % 2 * 4;
                    block[location / 2] = block[location / 2] & !(15 << shift) | ((bits & 15) as u8) << shift;
                    bits >>= 4;
                }
            }
            (Location::Byte(at), NumberType::Half) => block[at..at + 2].copy_from_slice(&half.to_le_bytes()),
            (Location::Byte(at), NumberType::Bfloat) => {
                block[at..at + 2].copy_from_slice(&half::bf16::from_f32(number).to_le_bytes());
            }
            (Location::Byte(at), NumberType::Single) => block[at..at + 4].copy_from_slice(&number.to_le_bytes()),
            (Location::Byte(at), NumberType::Double) => {
                block[at..at + 8].copy_from_slice(&f64::from(number).to_le_bytes())
            }
            (Location::Byte(at), NumberType::Exponent) => block[at] = (number.to_bits() >> 23) as u8,
        }
    }
}

/// The half-precision number in four nibbles of a block, the lowest first.
pub fn half_in(block: &[u8], nibbles: [usize; 4]) -> f32 {
    let bits = nibbles.iter().rev().fold(0, |bits, location| bits << 4 | u16::from(nibble(block, *location)));
    half::f16::from_bits(bits).to_f32()
}

fn nibble(block: &[u8], location: usize) -> u8 {
    block[location / 2] >> (location % 2 * 4) & 15
}

//! Integers of 4 and 8 bits in groups with a scale and a zero point, or a scale and a bias: AWQ, GPTQ, compressed-tensors, MLX.
//!
//! A block is a group's pair of numbers, as the publisher stored them, and its codes: `scale * (code - zero)`, or
//! `scale * code + bias`.

use super::scale::Scale;
use super::{Format, FormatInfo, grouped, half_at};

/// The pair of numbers of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pair {
    /// A scale in half precision, and a zero point in 16 bits, of which 8 count.
    HalfZero,
    /// A scale in bfloat16, and a zero point in 16 bits, of which 8 count.
    BfloatZero,
    /// A scale and a bias in half precision.
    HalfBias,
    /// A scale and a bias in bfloat16.
    BfloatBias,
    /// A scale and a bias in single precision.
    SingleBias,
}

/// What a pair says of a code: `scale * (factor * code + offset)`.
#[derive(Clone, Copy)]
struct Affine {
    scale: f32,
    factor: f32,
    offset: f32,
}

impl Pair {
    /// Bytes of a pair.
    pub const fn bytes(self) -> usize {
        match self {
            Pair::SingleBias => 8,
            _ => 4,
        }
    }

    /// What spoils a group where it is not finite.
    const fn scales(self) -> &'static [Scale] {
        match self {
            Pair::HalfZero => const { &[Scale::half(0)] },
            Pair::BfloatZero => const { &[Scale::bfloat(0)] },
            Pair::HalfBias => const { &[Scale::half(0), Scale::half(2)] },
            Pair::BfloatBias => const { &[Scale::bfloat(0), Scale::bfloat(2)] },
            Pair::SingleBias => const { &[Scale::single(0), Scale::single(4)] },
        }
    }

    /// A code minus a zero point is exact in f16.
    const fn exact_in_f16(self) -> bool {
        matches!(self, Pair::HalfZero | Pair::BfloatZero)
    }

    fn read(self, bytes: &[u8]) -> Affine {
        let bfloat = |at: usize| half::bf16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32();
        let single = |at: usize| f32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let of_zero = |scale| Affine { scale, factor: 1.0, offset: -f32::from(bytes[2]) };
        let of_bias = |factor, offset| Affine { scale: 1.0, factor, offset };
        match self {
            Pair::HalfZero => of_zero(half_at(bytes)),
            Pair::BfloatZero => of_zero(bfloat(0)),
            Pair::HalfBias => of_bias(half_at(bytes), half_at(&bytes[2..])),
            Pair::BfloatBias => of_bias(bfloat(0), bfloat(2)),
            Pair::SingleBias => of_bias(single(0), single(4)),
        }
    }
}

/// A format with what it was made from.
struct Int {
    bits: usize,
    pair: Pair,
    format: Format,
}

/// One format: bits of a code, elements of a group, and the kind of pair.
macro_rules! int {
    ($bits:literal, $group:literal, $blocks32:literal, $pair:ident, $file:literal) => {
        Int {
            bits: $bits,
            pair: Pair::$pair,
            format: Format(&FormatInfo {
                name: concat!("int", $bits, "_g", $group, "_", $file),
                gguf_id: None,
                block_elements: $group,
                block_bytes: grouped::block_bytes($bits, $group, Pair::$pair.bytes()),
                scales: Pair::$pair.scales(),
                exact_in_f16: Pair::$pair.exact_in_f16(),
                byte_codes: Some(32),
                table: &[],
                device_row_bytes: grouped::row_bytes::<$bits, $group, { Pair::$pair.bytes() }>,
                decode: |blocks, elements| {
                    let element = |pair: Affine, code| pair.scale * (pair.factor * f32::from(code) + pair.offset);
                    let read = |pair: &[u8]| Pair::$pair.read(pair);
                    grouped::decode::<$bits, $group, { Pair::$pair.bytes() }, _>(blocks, elements, read, element);
                },
                repack: Some(grouped::repack::<$bits, $group, { Pair::$pair.bytes() }>),
                encode: None,
                panel: None,
                wgsl: concat!(
                    "const $GROUP_BLOCKS32: u32 = ",
                    $blocks32,
                    "u;\n",
                    wgsl!(codes: concat!("decode", $bits, ".wgsl"), concat!($file, ".wgsl"))
                ),
            }),
        }
    };
}

/// The formats of one kind of pair.
macro_rules! ints {
    ($($pair:ident $file:literal),*) => {
        [$(
            int!(4, 32, 1, $pair, $file),
            int!(4, 64, 2, $pair, $file),
            int!(4, 128, 4, $pair, $file),
            int!(8, 32, 1, $pair, $file),
            int!(8, 64, 2, $pair, $file),
            int!(8, 128, 4, $pair, $file),
        )*]
    };
}

const TABLE: [Int; 30] = ints!(
    HalfZero "f16_zero", BfloatZero "bf16_zero", HalfBias "f16_bias", BfloatBias "bf16_bias", SingleBias "f32_bias"
);

/// Every format of integers in groups.
pub const ALL: [Format; TABLE.len()] = {
    let mut formats = [TABLE[0].format; TABLE.len()];
    let mut index = 0;
    while index < TABLE.len() {
        formats[index] = TABLE[index].format;
        index += 1;
    }
    formats
};

/// The formats of codes of this many bits, 4 or 8, and a kind of pair: blocks of 32, 64 and 128 elements.
pub fn formats(bits: usize, pair: Pair) -> impl Iterator<Item = Format> {
    TABLE.into_iter().filter(move |int| (int.bits, int.pair) == (bits, pair)).map(|int| int.format)
}

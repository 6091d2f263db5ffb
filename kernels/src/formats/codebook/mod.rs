//! NF4 and FP4 of bitsandbytes: nibbles that stand for their one of 16 numbers, in groups with a scale in single precision.
//!
//! NF4: Dettmers et al., <https://arxiv.org/abs/2305.14314>, appendix E.

use super::scale::Scale;
use super::{Format, FormatInfo, grouped};

const HEAD: usize = 4;

/// The numbers of NF4: what cuts a normal distribution into parts of equal probability, between -1 and 1.
pub const NF4: [f32; 16] = [
    -1.0,
    -0.696_192_8,
    -0.525_073_05,
    -0.394_917_5,
    -0.284_441_38,
    -0.184_773_43,
    -0.091_050_036,
    0.0,
    0.079_580_3,
    0.160_930_2,
    0.246_112_3,
    0.337_915_24,
    0.440_709_83,
    0.562_617,
    0.722_956_84,
    1.0,
];

/// The numbers of FP4: a sign, two bits of exponent and one of mantissa, over 12.
pub const FP4: [f32; 16] = {
    let twelfths = [0.0, 0.0625, 8.0, 12.0, 4.0, 6.0, 2.0, 3.0];
    let mut numbers = [0.0; 16];
    let mut code = 0;
    while code < 8 {
        numbers[code] = twelfths[code] / 12.0;
        numbers[code + 8] = -numbers[code];
        code += 1;
    }
    numbers
};

/// The numbers as a shader reads them before the first row.
const fn table(numbers: [f32; 16]) -> [u8; 64] {
    let mut bytes = [0; 64];
    let mut at = 0;
    while at < 64 {
        bytes[at] = numbers[at / 4].to_le_bytes()[at % 4];
        at += 1;
    }
    bytes
}

/// One format: its numbers, elements of a block, and blocks of 32 in it.
macro_rules! codebook {
    ($name:literal, $numbers:ident, $group:literal, $blocks32:literal) => {
        Format(&FormatInfo {
            name: concat!($name, "_g", $group),
            gguf_id: None,
            block_elements: $group,
            block_bytes: grouped::block_bytes(4, $group, HEAD),
            scales: &[Scale::single(0)],
            exact_in_f16: false,
            byte_codes: None,
            table: &const { table($numbers) },
            device_row_bytes: grouped::row_bytes::<4, $group, HEAD>,
            decode: |blocks, elements| decode::<$group>(&$numbers, blocks, elements),
            repack: Some(grouped::repack::<4, $group, HEAD>),
            encode: None,
            panel: None,
            wgsl: concat!(
                "const $GROUP_BLOCKS32: u32 = ",
                $blocks32,
                "u;\n",
                wgsl!(values: "decode.wgsl")
            ),
        })
    };
}

/// NF4 in blocks of 64 elements, and of 32 for rows that 64 does not divide.
pub const NF4_FORMATS: [Format; 2] = [codebook!("nf4", NF4, 64, 2), codebook!("nf4", NF4, 32, 1)];

/// FP4 in the same.
pub const FP4_FORMATS: [Format; 2] = [codebook!("fp4", FP4, 64, 2), codebook!("fp4", FP4, 32, 1)];

/// Every format of a codebook.
pub const ALL: [Format; 4] = [NF4_FORMATS[0], NF4_FORMATS[1], FP4_FORMATS[0], FP4_FORMATS[1]];

fn decode<const GROUP: usize>(numbers: &[f32; 16], blocks: &[u8], elements: &mut [f32]) {
    let read = |head: &[u8]| f32::from_le_bytes([head[0], head[1], head[2], head[3]]);
    let element = |scale: f32, code: u8| scale * numbers[usize::from(code)];
    grouped::decode::<4, GROUP, HEAD, _>(blocks, elements, read, element);
}

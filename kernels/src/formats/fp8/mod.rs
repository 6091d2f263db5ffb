//! FP8 (E4M3, of <https://arxiv.org/abs/2209.05433>) in groups with a scale in single precision, however large the rows,
//! columns or squares are that share one in a file.

use super::scale::Scale;
use super::{Format, FormatInfo, grouped};

const HEAD: usize = 4;

/// One format: elements of a block, and blocks of 32 in it.
macro_rules! fp8 {
    ($group:literal, $blocks32:literal) => {
        Format(&FormatInfo {
            name: concat!("fp8_g", $group),
            gguf_id: None,
            block_elements: $group,
            block_bytes: grouped::block_bytes(8, $group, HEAD),
            scales: &[Scale::single(0)],
            exact_in_f16: true,
            byte_codes: None,
            table: &[],
            device_row_bytes: grouped::row_bytes::<8, $group, HEAD>,
            decode: decode::<$group>,
            repack: Some(grouped::repack::<8, $group, HEAD>),
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

/// Blocks of 128 elements, and of 32 for rows that 128 does not divide.
pub const ALL: [Format; 2] = [fp8!(128, 4), fp8!(32, 1)];

/// The code that stands for no number, apart from its sign.
pub const NAN: u8 = 0x7f;

/// What a code stands for. The one that should stand for NaN goes on as the number after the largest, 480.
fn number(code: u8) -> f32 {
    let (exponent, mantissa) = (i32::from(code >> 3 & 15), f32::from(code & 7));
    let magnitude = match exponent {
        0 => mantissa * 2f32.powi(-9),
        _ => (1.0 + mantissa / 8.0) * 2f32.powi(exponent - 7),
    };
    if code & 128 == 0 { magnitude } else { -magnitude }
}

fn decode<const GROUP: usize>(blocks: &[u8], elements: &mut [f32]) {
    let read = |head: &[u8]| f32::from_le_bytes([head[0], head[1], head[2], head[3]]);
    grouped::decode::<8, GROUP, HEAD, _>(blocks, elements, read, |scale, code| scale * number(code));
}

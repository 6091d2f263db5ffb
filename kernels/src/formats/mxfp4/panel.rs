//! MXFP4 in panels: the exponents of four blocks, then the nibbles of each.

use super::{DOUBLED, half_scale};
use crate::formats::panel::{Codes, Panel, Plane, nibbles, offset_table};
use crate::simd::{LANES, Lanes};

/// MXFP4 in panels.
pub struct Mxfp4;

/// Twice what nibbles stand for, 128 more.
const TABLE: [u8; 16] = offset_table(DOUBLED);

/// The exponents and the nibbles of a block of the file.
const fn planes(block: usize) -> [Plane; 2] {
    [Plane::new(17 * block, 1, 1, LANES * block), Plane::new(17 * block + 1, 16, 4, 64 + 256 * block)]
}

impl Panel for Mxfp4 {
    const ELEMENTS: usize = 128;
    const BYTES: usize = 64 + 4 * 256;
    const PLANES: &'static [Plane] = const { [planes(0), planes(1), planes(2), planes(3)] }.as_flattened();
    const SPAN: usize = 32;
    const WAYS: usize = 2;
    const RUN: usize = 4;
    const CODES: Codes = Codes::Offset;
    const ZERO: i32 = 128;

    #[inline(always)]
    fn scales<L: Lanes>(_: L, block: &[u8], scales: &mut [[f32; LANES]], _: &mut [[f32; LANES]]) {
        for (exponents, scales) in block.chunks_exact(LANES).zip(&mut scales[..4]) {
            for lane in 0..LANES {
                scales[lane] = half_scale(exponents[lane]);
            }
        }
    }

    #[inline(always)]
    fn codes<L: Lanes>(lanes: L, block: &[u8], group: usize, way: usize, quad: usize) -> L::Bytes {
        lanes.lookup(nibbles(lanes, block, 1 + 4 * group + quad, way), &TABLE)
    }
}

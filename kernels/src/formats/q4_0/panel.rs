//! Q4_0 in panels: the scales of two blocks, then the nibbles of the first and of the second.

use crate::formats::panel::{Codes, Panel, Plane, nibbles, two_scales};
use crate::simd::{LANES, Lanes};

/// Q4_0 in panels.
pub struct Q4_0;

impl Panel for Q4_0 {
    const ELEMENTS: usize = 64;
    const BYTES: usize = 64 + 512;
    const PLANES: &'static [Plane] =
        &[Plane::new(0, 2, 2, 0), Plane::new(2, 16, 4, 64), Plane::new(18, 2, 2, 32), Plane::new(20, 16, 4, 320)];
    const SPAN: usize = 32;
    const WAYS: usize = 2;
    const RUN: usize = 4;
    const CODES: Codes = Codes::Bits4;
    const ZERO: i32 = 8;

    #[inline(always)]
    fn scales<L: Lanes>(lanes: L, block: &[u8], scales: &mut [[f32; LANES]], _: &mut [[f32; LANES]]) {
        two_scales(lanes, block, scales);
    }

    #[inline(always)]
    fn codes<L: Lanes>(lanes: L, block: &[u8], group: usize, way: usize, quad: usize) -> L::Bytes {
        nibbles(lanes, block, 1 + 4 * group + quad, way)
    }
}

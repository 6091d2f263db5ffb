//! Q8_0 in panels: the scales of two blocks, then the codes of the first and of the second, 128 more than they are.

use crate::formats::panel::{Codes, Panel, Plane, line, two_scales};
use crate::simd::{LANES, Lanes};

/// Q8_0 in panels.
pub struct Q8_0;

/// Signed bytes as bytes that are 128 more.
const fn signed(file: usize, bytes: usize, panel: usize) -> Plane {
    Plane { flipped: 0x80, ..Plane::new(file, bytes, 4, panel) }
}

impl Panel for Q8_0 {
    const ELEMENTS: usize = 64;
    const BYTES: usize = 64 + 1024;
    const PLANES: &'static [Plane] =
        &[Plane::new(0, 2, 2, 0), signed(2, 32, 64), Plane::new(34, 2, 2, 32), signed(36, 32, 576)];
    const SPAN: usize = 32;
    const WAYS: usize = 1;
    const RUN: usize = 8;
    const CODES: Codes = Codes::Offset;
    const ZERO: i32 = 128;

    #[inline(always)]
    fn scales<L: Lanes>(lanes: L, block: &[u8], scales: &mut [[f32; LANES]], _: &mut [[f32; LANES]]) {
        two_scales(lanes, block, scales);
    }

    #[inline(always)]
    fn codes<L: Lanes>(lanes: L, block: &[u8], group: usize, _: usize, quad: usize) -> L::Bytes {
        lanes.bytes(line(block, 1 + 8 * group + quad))
    }
}

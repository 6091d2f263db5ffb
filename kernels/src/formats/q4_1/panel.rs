//! Q4_1 in panels: the scales of two blocks, their minima, then the nibbles of the first and of the second.

use crate::formats::panel::{Codes, Panel, Plane, halves_at, nibbles};
use crate::simd::{LANES, Lanes};

/// Q4_1 in panels.
pub struct Q4_1;

impl Panel for Q4_1 {
    const ELEMENTS: usize = 64;
    const BYTES: usize = 128 + 512;
    const PLANES: &'static [Plane] = &[
        Plane::new(0, 2, 2, 0),
        Plane::new(2, 2, 2, 64),
        Plane::new(4, 16, 4, 128),
        Plane::new(20, 2, 2, 32),
        Plane::new(22, 2, 2, 96),
        Plane::new(24, 16, 4, 384),
    ];
    const SPAN: usize = 32;
    const WAYS: usize = 2;
    const RUN: usize = 4;
    const CODES: Codes = Codes::Bits4;
    const ZERO: i32 = 0;
    const HAS_MINIMA: bool = true;

    #[inline(always)]
    fn scales<L: Lanes>(lanes: L, block: &[u8], scales: &mut [[f32; LANES]], minima: &mut [[f32; LANES]]) {
        for span in 0..2 {
            lanes.store(halves_at(lanes, block, 32 * span), &mut scales[span]);
            // The file has what is added.
            let minimum = lanes.mul(halves_at(lanes, block, 64 + 32 * span), lanes.splat(-1.0));
            lanes.store(minimum, &mut minima[span]);
        }
    }

    #[inline(always)]
    fn codes<L: Lanes>(lanes: L, block: &[u8], group: usize, way: usize, quad: usize) -> L::Bytes {
        nibbles(lanes, block, 2 + 4 * group + quad, way)
    }
}

//! Q5_K in panels: what those of Q4_K have before their nibbles, then the high bits, then the nibbles.

use crate::formats::panel::{Codes, Panel, Plane, line, nibbles};
use crate::formats::q4_k::panel::affine;
use crate::simd::{LANES, Lanes};

/// Q5_K in panels.
pub struct Q5K;

impl Panel for Q5K {
    const ELEMENTS: usize = 256;
    const BYTES: usize = 256 + 512 + 2048;
    const PLANES: &'static [Plane] = &[
        Plane::new(0, 2, 2, 0),
        Plane::new(2, 2, 2, 32),
        Plane::new(4, 12, 4, 64),
        Plane::new(16, 32, 4, 256),
        Plane::new(48, 128, 4, 768),
    ];
    const SPAN: usize = 32;
    const WAYS: usize = 2;
    const RUN: usize = 8;
    const CODES: Codes = Codes::Bits5;
    const ZERO: i32 = 0;
    const HAS_MINIMA: bool = true;

    #[inline(always)]
    fn scales<L: Lanes>(lanes: L, block: &[u8], scales: &mut [[f32; LANES]], minima: &mut [[f32; LANES]]) {
        affine(lanes, block, scales, minima);
    }

    #[inline(always)]
    fn codes<L: Lanes>(lanes: L, block: &[u8], group: usize, way: usize, quad: usize) -> L::Bytes {
        let high = lanes.bits(lanes.bytes(line(block, 4 + quad)), (2 * group + way) as u32, 1);
        let low = nibbles(lanes, block, 12 + 8 * group + quad, way);
        lanes.or(low, lanes.shift_up(high))
    }
}

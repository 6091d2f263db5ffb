//! Q6_K in panels: the scales of the blocks, padded to 64 bytes, their signed factors, the low nibbles, then the high pairs of bits.

use crate::formats::panel::{Codes, Panel, Plane, halves_at, line, nibbles, run_of_quarter};
use crate::simd::{LANES, Lanes};

/// Q6_K in panels.
pub struct Q6K;

impl Panel for Q6K {
    const ELEMENTS: usize = 256;
    const BYTES: usize = 64 + 256 + 2048 + 1024;
    const PLANES: &'static [Plane] = &[
        Plane::new(0, 128, 4, 320),
        Plane::new(128, 64, 4, 2368),
        Plane::new(192, 16, 4, 64),
        Plane::new(208, 2, 2, 0),
    ];
    const SPAN: usize = 16;
    const WAYS: usize = 4;
    const RUN: usize = 4;
    const CODES: Codes = Codes::Bits6;
    const ZERO: i32 = 32;

    #[inline(always)]
    fn scales<L: Lanes>(lanes: L, block: &[u8], scales: &mut [[f32; LANES]], _: &mut [[f32; LANES]]) {
        let scale = halves_at(lanes, block, 0);
        for (span, scales) in scales[..16].iter_mut().enumerate() {
            let factors = lanes.words(lanes.bytes(line(block, 1 + span / 4)));
            let factors = lanes.to_floats(lanes.signed_byte(factors, span as u32 % 4));
            lanes.store(lanes.mul(scale, factors), scales);
        }
    }

    #[inline(always)]
    fn run(group: usize, way: usize) -> usize {
        run_of_quarter(group, way)
    }

    #[inline(always)]
    fn codes<L: Lanes>(lanes: L, block: &[u8], group: usize, way: usize, quad: usize) -> L::Bytes {
        let (half, quad) = (group / 2, 4 * (group % 2) + quad);
        let low = nibbles(lanes, block, 5 + 16 * half + 8 * (way % 2) + quad, way / 2);
        let high = lanes.bytes(line(block, 37 + 8 * half + quad));
        lanes.or(low, lanes.shift_up(lanes.bits(high, 2 * way as u32, 3)))
    }
}

//! Q2_K in panels: scales and minima of the blocks, the nibbles of their factors, then the pairs of bits.

use crate::formats::panel::{Codes, Panel, Plane, halves_at, line, run_of_quarter};
use crate::simd::{LANES, Lanes};

/// Q2_K in panels.
pub struct Q2K;

impl Panel for Q2K {
    const ELEMENTS: usize = 256;
    const BYTES: usize = 64 + 256 + 1024;
    const PLANES: &'static [Plane] =
        &[Plane::new(0, 16, 4, 64), Plane::new(16, 64, 4, 320), Plane::new(80, 2, 2, 0), Plane::new(82, 2, 2, 32)];
    const SPAN: usize = 16;
    const WAYS: usize = 4;
    const RUN: usize = 4;
    const CODES: Codes = Codes::Bits4;
    const ZERO: i32 = 0;
    const HAS_MINIMA: bool = true;

    #[inline(always)]
    fn scales<L: Lanes>(lanes: L, block: &[u8], scales: &mut [[f32; LANES]], minima: &mut [[f32; LANES]]) {
        let (scale, minimum) = (halves_at(lanes, block, 0), halves_at(lanes, block, 32));
        for span in 0..16 {
            let factors = lanes.words(lanes.bytes(line(block, 1 + span / 4)));
            let shift = 8 * (span as u32 % 4);
            lanes.store(lanes.mul(scale, lanes.to_floats(lanes.field(factors, shift, 15))), &mut scales[span]);
            lanes.store(lanes.mul(minimum, lanes.to_floats(lanes.field(factors, shift + 4, 15))), &mut minima[span]);
        }
    }

    #[inline(always)]
    fn run(group: usize, way: usize) -> usize {
        run_of_quarter(group, way)
    }

    #[inline(always)]
    fn codes<L: Lanes>(lanes: L, block: &[u8], group: usize, way: usize, quad: usize) -> L::Bytes {
        lanes.bits(lanes.bytes(line(block, 5 + 4 * group + quad)), 2 * way as u32, 3)
    }
}

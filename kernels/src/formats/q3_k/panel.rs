//! Q3_K in panels: the scales of the blocks, padded to 64 bytes, their factors, the high bits, then the low pairs of bits.

use crate::formats::panel::{Codes, Panel, Plane, halves_at, line, run_of_quarter};
use crate::simd::{LANES, Lanes};

/// Q3_K in panels.
pub struct Q3K;

impl Panel for Q3K {
    const ELEMENTS: usize = 256;
    const BYTES: usize = 64 + 192 + 512 + 1024;
    const PLANES: &'static [Plane] =
        &[Plane::new(0, 32, 4, 256), Plane::new(32, 64, 4, 768), Plane::new(96, 12, 4, 64), Plane::new(108, 2, 2, 0)];
    const SPAN: usize = 16;
    const WAYS: usize = 4;
    const RUN: usize = 4;
    const CODES: Codes = Codes::Bits4;
    const ZERO: i32 = 4;

    #[inline(always)]
    fn scales<L: Lanes>(lanes: L, block: &[u8], scales: &mut [[f32; LANES]], _: &mut [[f32; LANES]]) {
        let scale = halves_at(lanes, block, 0);
        let high_pairs = lanes.words(lanes.bytes(line(block, 3)));
        for (span, scales) in scales[..16].iter_mut().enumerate() {
            // Low nibbles of factors 0 to 7, then of 8 to 15; the high pairs of factors 0 to 3, 4 to 7 and so on lie in each other.
            let (byte, group) = (span % 8, span / 4);
            let nibbles = lanes.words(lanes.bytes(line(block, 1 + byte / 4)));
            let low = lanes.field(nibbles, 8 * (byte as u32 % 4) + 4 * (span as u32 / 8), 15);
            let high = lanes.field(high_pairs, 8 * (span as u32 % 4) + 2 * group as u32, 3);
            // A factor stands for itself minus 32.
            let factor = lanes.fma(lanes.to_floats(high), lanes.splat(16.0), lanes.to_floats(low));
            let factor = lanes.fma(factor, lanes.splat(1.0), lanes.splat(-32.0));
            lanes.store(lanes.mul(scale, factor), scales);
        }
    }

    #[inline(always)]
    fn run(group: usize, way: usize) -> usize {
        run_of_quarter(group, way)
    }

    #[inline(always)]
    fn codes<L: Lanes>(lanes: L, block: &[u8], group: usize, way: usize, quad: usize) -> L::Bytes {
        let low = lanes.bits(lanes.bytes(line(block, 12 + 4 * group + quad)), 2 * way as u32, 3);
        let high = lanes.bytes(line(block, 4 + 4 * (group % 2) + quad));
        let high = lanes.bits(high, (4 * (group / 2) + way) as u32, 1);
        // 16 times the high bit, and of that a quarter.
        lanes.or(low, lanes.bits(lanes.shift_up(high), 2, 4))
    }
}

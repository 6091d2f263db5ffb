//! IQ4_XS in panels: scales of the blocks and the high bits of their factors, the factors' nibbles, then the elements' nibbles.

use crate::formats::iq4_nl::panel::TABLE;
use crate::formats::panel::{Codes, Panel, Plane, halves_at, nibbles};
use crate::simd::{LANES, Lanes};

/// IQ4_XS in panels.
pub struct Iq4Xs;

impl Panel for Iq4Xs {
    const ELEMENTS: usize = 256;
    const BYTES: usize = 128 + 2048;
    const PLANES: &'static [Plane] =
        &[Plane::new(0, 2, 2, 0), Plane::new(2, 2, 2, 32), Plane::new(4, 4, 4, 64), Plane::new(8, 128, 4, 128)];
    const SPAN: usize = 32;
    const WAYS: usize = 2;
    const RUN: usize = 4;
    const CODES: Codes = Codes::Offset;
    const ZERO: i32 = 128;

    #[inline(always)]
    fn scales<L: Lanes>(lanes: L, block: &[u8], scales: &mut [[f32; LANES]], _: &mut [[f32; LANES]]) {
        let mut of_block = [0.0; LANES];
        lanes.store(halves_at(lanes, block, 0), &mut of_block);
        for (span, scales) in scales[..8].iter_mut().enumerate() {
            for lane in 0..LANES {
                let high = block[32 + 2 * lane + span / 4] >> (span % 4 * 2) & 3;
                let low = block[64 + 4 * lane + span / 2] >> (span % 2 * 4) & 15;
                scales[lane] = of_block[lane] * f32::from((low | high << 4) as i8 - 32);
            }
        }
    }

    #[inline(always)]
    fn codes<L: Lanes>(lanes: L, block: &[u8], group: usize, way: usize, quad: usize) -> L::Bytes {
        lanes.lookup(nibbles(lanes, block, 2 + 4 * group + quad, way), &TABLE)
    }
}

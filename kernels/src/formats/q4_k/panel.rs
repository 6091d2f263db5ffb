//! Q4_K in panels: scales and minima of the blocks, their factors, then the nibbles.

use crate::formats::panel::{Codes, Panel, Plane, halves_at, line, nibbles};
use crate::simd::{LANES, Lanes};

/// Q4_K in panels.
pub struct Q4K;

/// The scales and minima of a block of Q4_K or Q5_K, out of its first 256 bytes.
#[inline(always)]
pub fn affine<L: Lanes>(lanes: L, block: &[u8], scales: &mut [[f32; LANES]], minima: &mut [[f32; LANES]]) {
    let (scale, minimum) = (halves_at(lanes, block, 0), halves_at(lanes, block, 32));
    let low_scales = lanes.words(lanes.bytes(line(block, 1)));
    let low_minima = lanes.words(lanes.bytes(line(block, 2)));
    let nibbles = lanes.words(lanes.bytes(line(block, 3)));
    for span in 0..4 {
        let shift = 8 * span as u32;
        lanes.store(times(lanes, scale, lanes.field(low_scales, shift, 63)), &mut scales[span]);
        lanes.store(times(lanes, minimum, lanes.field(low_minima, shift, 63)), &mut minima[span]);
        // Of factors 4 to 7 the low 4 bits are nibbles, and the high 2 lie above the first four's 6.
        let high = lanes.or_words(lanes.field(nibbles, shift, 15), lanes.field(low_scales, shift + 2, 48));
        lanes.store(times(lanes, scale, high), &mut scales[span + 4]);
        let high = lanes.or_words(lanes.field(nibbles, shift + 4, 15), lanes.field(low_minima, shift + 2, 48));
        lanes.store(times(lanes, minimum, high), &mut minima[span + 4]);
    }
}

/// A number times a small integer.
#[inline(always)]
fn times<L: Lanes>(lanes: L, number: L::Floats, factor: L::Integers) -> L::Floats {
    lanes.mul(number, lanes.to_floats(factor))
}

impl Panel for Q4K {
    const ELEMENTS: usize = 256;
    const BYTES: usize = 256 + 2048;
    const PLANES: &'static [Plane] =
        &[Plane::new(0, 2, 2, 0), Plane::new(2, 2, 2, 32), Plane::new(4, 12, 4, 64), Plane::new(16, 128, 4, 256)];
    const SPAN: usize = 32;
    const WAYS: usize = 2;
    const RUN: usize = 8;
    const CODES: Codes = Codes::Bits4;
    const ZERO: i32 = 0;
    const HAS_MINIMA: bool = true;

    #[inline(always)]
    fn scales<L: Lanes>(lanes: L, block: &[u8], scales: &mut [[f32; LANES]], minima: &mut [[f32; LANES]]) {
        affine(lanes, block, scales, minima);
    }

    #[inline(always)]
    fn codes<L: Lanes>(lanes: L, block: &[u8], group: usize, way: usize, quad: usize) -> L::Bytes {
        nibbles(lanes, block, 4 + 8 * group + quad, way)
    }
}

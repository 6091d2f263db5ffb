//! Q4_K in panels: scales and minima of the blocks, their factors, then the nibbles.

use crate::formats::panel::{Codes, Panel, Plane, halves_at, line};
use crate::simd::Lanes;

/// Q4_K in panels.
pub struct Q4K;

/// Scales and minima of the blocks, and the 8 factors of each, a byte each in two words.
#[derive(Clone, Copy)]
pub struct Affine<L: Lanes> {
    scale: L::Floats,
    minimum: L::Floats,
    scale_factors: [L::Integers; 2],
    minimum_factors: [L::Integers; 2],
}

/// What the scales and minima of a block of Q4_K or Q5_K are made from, out of its first 256 bytes.
#[inline(always)]
pub fn affine<L: Lanes>(lanes: L, block: &[u8]) -> Affine<L> {
    let [scales, minima, nibbles] = [1, 2, 3].map(|index| line(block, index));
    let (scales, minima) = (lanes.words(lanes.bytes(scales)), lanes.words(lanes.bytes(minima)));
    let nibbles = lanes.words(lanes.bytes(nibbles));
    // Of factors 4 to 7 the low 4 bits are nibbles, and the high 2 lie above the first four's 6.
    let high = |words: L::Integers, shift: u32| {
        lanes.or_words(lanes.field(nibbles, shift, 0x0f0f_0f0f), lanes.field(words, 2, 0x3030_3030))
    };
    Affine {
        scale: halves_at(lanes, block, 0),
        minimum: halves_at(lanes, block, 32),
        scale_factors: [lanes.field(scales, 0, 0x3f3f_3f3f), high(scales, 0)],
        minimum_factors: [lanes.field(minima, 0, 0x3f3f_3f3f), high(minima, 4)],
    }
}

impl<L: Lanes> Affine<L> {
    /// The scales of 32 elements.
    #[inline(always)]
    pub fn scale(&self, lanes: L, span: usize) -> L::Floats {
        let factors = lanes.field(self.scale_factors[span / 4], 8 * (span as u32 % 4), 63);
        lanes.mul(self.scale, lanes.to_floats(factors))
    }

    /// The minima of 32 elements.
    #[inline(always)]
    pub fn minimum(&self, lanes: L, span: usize) -> L::Floats {
        let factors = lanes.field(self.minimum_factors[span / 4], 8 * (span as u32 % 4), 63);
        lanes.mul(self.minimum, lanes.to_floats(factors))
    }
}

impl Panel for Q4K {
    const ELEMENTS: usize = 256;
    const BYTES: usize = 256 + 2048;
    const PLANES: &'static [Plane] =
        &[Plane::new(0, 2, 2, 0), Plane::new(2, 2, 2, 32), Plane::new(4, 12, 4, 64), Plane::new(16, 128, 4, 256)];
    const SPAN: usize = 32;
    const CODES: Codes = Codes::Bits4;
    const ZERO: i32 = 0;
    const HAS_MINIMA: bool = true;
    type Head<L: Lanes> = Affine<L>;

    #[inline(always)]
    fn head<L: Lanes>(lanes: L, block: &[u8]) -> Affine<L> {
        affine(lanes, block)
    }

    #[inline(always)]
    fn scale<L: Lanes>(lanes: L, head: Affine<L>, _: &[u8], span: usize) -> L::Floats {
        head.scale(lanes, span)
    }

    #[inline(always)]
    fn minimum<L: Lanes>(lanes: L, head: Affine<L>, _: &[u8], span: usize) -> L::Floats {
        head.minimum(lanes, span)
    }

    #[inline(always)]
    fn codes<L: Lanes>(lanes: L, block: &[u8], span: usize, quad: usize) -> L::Bytes {
        lanes.bits(lanes.bytes(line(block, 4 + 8 * (span / 2) + quad)), 4 * (span as u32 % 2), 15)
    }
}

//! Random numbers and weights, the same everywhere: for samplers, for models of random weights and for cases.

use crate::formats::Format;

/// A small generator of numbers (SplitMix64, Steele et al. 2014), the same everywhere.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// A generator; equal seeds give equal numbers.
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1))
    }

    /// The next 64 bits.
    #[allow(clippy::should_implement_trait, reason = "a generator is no iterator: it never ends")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number in `0..1`.
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A number in `-1..1`.
    pub fn signed(&mut self) -> f32 {
        (self.unit() * 2.0 - 1.0) as f32
    }

    /// Shuffles a slice (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, (self.next() % (last as u64 + 1)) as usize);
        }
    }
}

/// Blocks of random elements up to a magnitude: of random bits, so that a shader reads all there are, where scales can be set to
/// give the magnitude; else encoded.
pub fn random_blocks(format: Format, elements: usize, magnitude: f32, random: &mut Random) -> Vec<u8> {
    if format.is_float() || !format.scales.iter().any(|scale| scale.takes_any_number()) {
        let numbers: Vec<f32> = (0..elements).map(|_| random.signed() * magnitude).collect();
        return format.encode_rows(&numbers);
    }
    let mut blocks: Vec<u8> =
        (0..elements / format.block_elements * format.block_bytes).map(|_| random.next() as u8).collect();
    let mut decoded = vec![0.0; format.block_elements];
    for block in blocks.chunks_exact_mut(format.block_bytes) {
        // The elements are linear in the scales: decoded once with any, these can be made to give the magnitude.
        let scales: Vec<f32> = format.scales.iter().map(|_| random.signed()).collect();
        let set_scales = |block: &mut [u8], factor: f32| {
            for (scale, number) in format.scales.iter().zip(&scales) {
                scale.set(block, number * factor);
            }
        };
        set_scales(block, 1.0);
        format.decode_row(block, &mut decoded);
        let largest = decoded.iter().fold(0f32, |largest, element| largest.max(element.abs()));
        set_scales(block, magnitude / largest);
    }
    blocks
}

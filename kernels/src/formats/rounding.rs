//! How Q4_0 to Q5_1 round the 32 elements of a block to codes, as ggml's `quantize_row_*_ref` do.

use super::UNIT;

/// A scale and codes of so many bits that stand for themselves minus half of their range, times the scale.
pub fn symmetric(values: &[f32], bits: u32) -> (f32, [u8; UNIT]) {
    let half = (1u32 << (bits - 1)) as f32;
    // The element of the largest magnitude, with its sign, becomes code 0, which stands for -half.
    let extreme = values.iter().fold(0f32, |extreme, value| if value.abs() > extreme.abs() { *value } else { extreme });
    let scale = extreme / -half;
    (scale, codes(values, scale, bits, |value, inverse| value * inverse + (half + 0.5)))
}

/// A scale, a minimum, and codes of so many bits that stand for themselves times the scale plus the minimum.
pub fn affine(values: &[f32], bits: u32) -> (f32, f32, [u8; UNIT]) {
    let smallest = values.iter().copied().fold(f32::INFINITY, f32::min);
    let largest = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let scale = (largest - smallest) / ((1u32 << bits) - 1) as f32;
    (scale, smallest, codes(values, scale, bits, |value, inverse| (value - smallest) * inverse + 0.5))
}

/// The codes below what `place` gives, within their bits; a scale of 0 has no inverse and takes 0 for it.
fn codes(values: &[f32], scale: f32, bits: u32, place: impl Fn(f32, f32) -> f32) -> [u8; UNIT] {
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    let most = (1u8 << bits) - 1;
    std::array::from_fn(|index| (place(values[index], inverse) as u8).min(most))
}

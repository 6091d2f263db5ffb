//! How Q4_0 to Q5_1 round the 32 elements of a block where nothing is known of importance, as ggml's `quantize_row_*_ref` do.

use super::BLOCK32;
use super::search::Levels;

/// A scale and levels of it: integers, of which the lowest is minus half of their count.
pub fn symmetric<L: Levels>(values: &[f32; BLOCK32]) -> (f32, [i8; BLOCK32]) {
    let [lowest, highest] = L::ENDS;
    // The element of the largest magnitude, with its sign, becomes the lowest.
    let extreme = values.iter().fold(0f32, |extreme, value| if value.abs() > extreme.abs() { *value } else { extreme });
    let scale = extreme / lowest;
    let codes = codes(values, scale, highest - lowest, |value, inverse| value * inverse + (0.5 - lowest));
    (scale, codes.map(|code| code as i8 + lowest as i8))
}

/// A scale, a minimum, and codes from 0 to `TOP` that stand for themselves times the scale plus the minimum.
pub fn affine<const TOP: i32>(values: &[f32; BLOCK32]) -> (f32, f32, [u8; BLOCK32]) {
    let smallest = values.iter().copied().fold(f32::INFINITY, f32::min);
    let largest = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let scale = (largest - smallest) / TOP as f32;
    (scale, smallest, codes(values, scale, TOP as f32, |value, inverse| (value - smallest) * inverse + 0.5))
}

/// The codes below what `place` gives, at most `top`; a scale of 0 has no inverse and takes 0 for it.
fn codes(values: &[f32; BLOCK32], scale: f32, top: f32, place: impl Fn(f32, f32) -> f32) -> [u8; BLOCK32] {
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    values.map(|value| (place(value, inverse) as u8).min(top as u8))
}

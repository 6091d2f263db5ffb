//! How elements become codes where errors are weighed: the scale, or the scale and minimum, of the least squared error.
//!
//! Both alternate between the codes nearest at a scale and the scale that fits those codes best, as Lloyd does ("Least squares
//! quantization in PCM", 1982). The error has many local minima, so that this begins from several scales at once, one in each of
//! [`LANES`].

pub mod affine;
pub mod scale;

use super::nearest_half;

/// Numbers that share a scale, and what the squared error of each counts.
#[derive(Clone, Copy)]
pub struct Group<const N: usize> {
    /// The numbers.
    pub values: [f32; N],
    /// Their weights, all of them positive.
    pub weights: [f32; N],
}

/// The numbers that codes stand for before their scale.
pub trait Levels {
    /// The lowest and the highest.
    const ENDS: [f32; 2];
    /// Where a search for a scale begins: how far beyond these the number of the largest magnitude is put.
    const STARTS: &[Lanes];
    /// The level nearest to a number.
    fn nearest(number: f32) -> f32;
}

/// The integers in a range.
pub struct Integers<const LOWEST: i32, const HIGHEST: i32>;

impl<const LOWEST: i32, const HIGHEST: i32> Levels for Integers<LOWEST, HIGHEST> {
    const ENDS: [f32; 2] = [LOWEST as f32, HIGHEST as f32];
    const STARTS: &[Lanes] =
        &[[-2.0, -1.0, -0.75, -0.5, -0.25, 0.0, 0.25, 0.5], [0.75, 1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0]];

    #[inline(always)]
    fn nearest(number: f32) -> f32 {
        number.clamp(LOWEST as f32, HIGHEST as f32) + ROUND - ROUND
    }
}

/// Added to a number, it rounds it, in fewer instructions than `f32::round`: numbers from 2^23 to 2^24 are integers.
pub const ROUND: f32 = (3 << 22) as f32;

/// The weight of an element of no importance, where 1 is the mean: little, but it keeps the sums of a group above 0, and its code is
/// to be a sensible one.
const LEAST_WEIGHT: f32 = 1e-4;

/// Calls `encode` with the groups of each block and the bytes to fill.
///
/// Of the importance only proportions matter: the mean weight of a block is 1. Where nothing is known, or nothing counts,
/// all weights are 1. Elements that are not finite are 0.
pub fn each_block<const GROUPS: usize, const N: usize>(
    elements: &[f32],
    importance: Option<&[f32]>,
    blocks: &mut [u8],
    encode: impl Fn(&[Group<N>; GROUPS], &mut [u8]),
) {
    let block_elements = GROUPS * N;
    let block_bytes = blocks.len() / (elements.len() / block_elements).max(1);
    let mut groups = [Group { values: [0.0; N], weights: [1.0; N] }; GROUPS];
    for (index, block) in blocks.chunks_exact_mut(block_bytes.max(1)).enumerate() {
        let range = index * block_elements..(index + 1) * block_elements;
        for (group, values) in groups.iter_mut().zip(elements[range.clone()].chunks_exact(N)) {
            group.values = places(|place| ordinary(values[place]));
        }
        if let Some(importance) = importance {
            let importance = &importance[range];
            let counted = |number: f32| if number.is_finite() { f64::from(number.max(0.0)) } else { 0.0 };
            let mean = importance.iter().map(|number| counted(*number)).sum::<f64>() / block_elements as f64;
            for (group, importance) in groups.iter_mut().zip(importance.chunks_exact(N)) {
                let weight = |place| ((counted(importance[place]) / mean) as f32).max(LEAST_WEIGHT);
                group.weights = places(|place| if mean > 0.0 { weight(place) } else { 1.0 });
            }
        }
        encode(&groups, block);
    }
}

/// A number whose square is an ordinary one; no format holds one beyond (65504 times 128 times 128 is the most).
fn ordinary(number: f32) -> f32 {
    if number.is_finite() { number.clamp(-2e9, 2e9) } else { 0.0 }
}

/// A number as half precision stores it; but a scale that is not 0 does not become 0: with the least there is, codes and factors
/// still say much.
fn half(number: f32) -> f32 {
    const LEAST: half::f16 = half::f16::from_bits(1);
    match nearest_half(number).to_f32() {
        0.0 if number != 0.0 => LEAST.to_f32().copysign(number),
        nearest => nearest,
    }
}

/// A number's inverse, and 0 for that of 0.
#[inline(always)]
fn inverse(number: f32) -> f32 {
    if number == 0.0 { 0.0 } else { 1.0 / number }
}

/// Alternatives that are computed at once. A loop over elements with one over these inside it is compiled to vectors on any
/// processor; a sum over elements is not.
const LANES: usize = 8;

/// A number of each alternative.
pub type Lanes = [f32; LANES];

/// A scale, and a minimum if there is one: a code stands for itself times the scale plus the minimum.
#[derive(Clone, Copy)]
struct Fit {
    scale: f32,
    minimum: f32,
    /// What the square of a deviation from the scale costs.
    curvature: f32,
}

/// Several fits.
#[derive(Default)]
struct Fits {
    scales: Lanes,
    minima: Lanes,
    curvatures: Lanes,
    /// Their squared errors, less the one of scale and minimum 0: that is what the default is.
    errors: Lanes,
}

impl Fits {
    /// Takes over what has smaller errors.
    fn keep(&mut self, found: &Fits) {
        for lane in 0..LANES {
            if found.errors[lane] < self.errors[lane] {
                self.scales[lane] = found.scales[lane];
                self.minima[lane] = found.minima[lane];
                self.curvatures[lane] = found.curvatures[lane];
                self.errors[lane] = found.errors[lane];
            }
        }
    }

    fn best(&self) -> Fit {
        let lane = least(&self.errors);
        Fit { scale: self.scales[lane], minimum: self.minima[lane], curvature: self.curvatures[lane] }
    }
}

/// The place of the smallest number.
fn least(lanes: &Lanes) -> usize {
    (1..LANES).fold(0, |best, lane| if lanes[lane] < lanes[best] { lane } else { best })
}

/// What a function gives for each place. (`array::from_fn` is not compiled to vectors.)
#[inline(always)]
fn places<const N: usize>(number: impl Fn(usize) -> f32) -> [f32; N] {
    let mut numbers = [0.0; N];
    for (place, to) in numbers.iter_mut().enumerate() {
        *to = number(place);
    }
    numbers
}

/// The smallest and the largest of some numbers, as many as a multiple of [`LANES`].
#[inline(never)]
fn ends(numbers: &[f32]) -> (f32, f32) {
    let (mut smallest, mut largest) = ([f32::INFINITY; LANES], [f32::NEG_INFINITY; LANES]);
    for numbers in numbers.chunks_exact(LANES) {
        for lane in 0..LANES {
            smallest[lane] = smallest[lane].min(numbers[lane]);
            largest[lane] = largest[lane].max(numbers[lane]);
        }
    }
    (smallest.into_iter().fold(f32::INFINITY, f32::min), largest.into_iter().fold(f32::NEG_INFINITY, f32::max))
}

/// Weighted sums over some elements, as many as a multiple of [`LANES`].
struct Moments {
    levels: f32,
    squares: f32,
    products: f32,
}

/// The weighted sums of levels, of their squares and of their products with values.
#[inline(never)]
fn moments(values: &[f32], weights: &[f32], levels: &[f32]) -> Moments {
    let mut sums = [[0.0; LANES]; 3];
    let chunks = values.chunks_exact(LANES).zip(weights.chunks_exact(LANES)).zip(levels.chunks_exact(LANES));
    for ((values, weights), levels) in chunks {
        for lane in 0..LANES {
            let weighted = levels[lane] * weights[lane];
            sums[0][lane] += weighted;
            sums[1][lane] += weighted * levels[lane];
            sums[2][lane] += weighted * values[lane];
        }
    }
    let [levels, squares, products] = sums.map(|sums| sums.iter().sum());
    Moments { levels, squares, products }
}

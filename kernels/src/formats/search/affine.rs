//! The scale and minimum of a group, and those of a super-block with factors of both for each group.

use super::{Fit, Fits, Group, Integers, LANES, Lanes, Levels, ends, half, inverse, least, moments, places};

/// A super-block whose groups are scaled by factors of one scale, less factors of one minimum.
pub struct AffineBlock<const GROUPS: usize, const N: usize> {
    /// The scale, a half-precision number that is not negative.
    pub scale: f32,
    /// What factors of are subtracted, a half-precision number that is not negative.
    pub minimum: f32,
    /// The factor of the scale of each group.
    pub scale_factors: [u8; GROUPS],
    /// The factor of the minimum of each group.
    pub minimum_factors: [u8; GROUPS],
    /// The code of each element.
    pub codes: [[u8; N]; GROUPS],
}

/// Where a search begins: by how much the range of the values exceeds that of the codes.
const STARTS: Lanes = [-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 3.5];

/// How much of that lies below the codes.
const BELOW: [f32; 2] = [0.0, 0.5];

impl<const N: usize> Group<N> {
    /// The half-precision scale and minimum of the least squared error that is found, and the codes nearest at them.
    #[inline(always)]
    pub fn affine<const TOP: i32>(&self) -> (f32, f32, [u8; N]) {
        let found = self.best_affine::<TOP>(f32::INFINITY);
        let (scale, minimum) = (half(found.scale), half(found.minimum));
        (scale, minimum, self.codes::<TOP>(scale, minimum).map(|code| code as u8))
    }

    /// The codes nearest to the values at a scale and minimum.
    #[inline(always)]
    fn codes<const TOP: i32>(&self, scale: f32, minimum: f32) -> [f32; N] {
        let inverse = inverse(scale);
        places(|place| Integers::<0, TOP>::nearest((self.values[place] - minimum) * inverse))
    }

    /// The scale and minimum of the least squared error that is found, the minimum at most this much.
    #[inline(always)]
    fn best_affine<const TOP: i32>(&self, most: f32) -> Fit {
        let (smallest, largest) = ends(&self.values);
        let smallest = smallest.min(most);
        // Differences from the smallest keep their precision where it is far from 0.
        let above = Group { values: places(|place| self.values[place] - smallest), weights: self.weights };
        let (range, most) = (largest - smallest, most - smallest);
        let mut best = Fits::default();
        for below in BELOW {
            let inverses: Lanes = places(|lane| (TOP as f32 + STARTS[lane]) * inverse(range));
            let minima = places(|lane| STARTS[lane] * below * inverse(inverses[lane]));
            best.keep(&above.refit_affines::<TOP>(&inverses, &minima, most));
        }
        for _ in 0..2 {
            best.keep(&above.refit_affines::<TOP>(&best.scales.map(inverse), &best.minima, most));
        }
        let best = best.best();
        Fit { minimum: best.minimum + smallest, ..best }
    }

    /// The best scales and minima, at most this much, for the codes nearest at minima and scales whose inverses are given.
    #[inline(never)]
    fn refit_affines<const TOP: i32>(&self, inverses: &Lanes, minima: &Lanes, most: f32) -> Fits {
        let (mut weights, mut values) = (0.0, 0.0);
        let (mut codes, mut squares, mut products) = ([0.0; LANES], [0.0; LANES], [0.0; LANES]);
        for (value, weight) in self.values.iter().zip(&self.weights) {
            weights += weight;
            values += weight * value;
            for lane in 0..LANES {
                let code = Integers::<0, TOP>::nearest((value - minima[lane]) * inverses[lane]);
                let weighted = code * weight;
                codes[lane] += weighted;
                squares[lane] += weighted * code;
                products[lane] += weighted * value;
            }
        }
        let mut fits = Fits::default();
        for lane in 0..LANES {
            let (codes, squares, products) = (codes[lane], squares[lane], products[lane]);
            let determinant = weights * squares - codes * codes;
            let fitting = (squares * values - codes * products) / determinant;
            // Where all codes are equal the determinant is 0, and any minimum would do.
            let minimum = if determinant > 1e-6 * weights * squares { fitting.min(most) } else { 0.0 };
            // A minimum that is free makes up for most of what a scale is off.
            let curvature = if minimum == fitting { determinant / weights } else { squares };
            let scale = ((products - minimum * codes) / squares.max(f32::MIN_POSITIVE)).max(0.0);
            fits.scales[lane] = scale;
            fits.minima[lane] = minimum;
            fits.curvatures[lane] = curvature;
            fits.errors[lane] = scale * (scale * squares + 2.0 * (minimum * codes - products))
                + minimum * (minimum * weights - 2.0 * values);
        }
        fits
    }

    /// The squared errors at scales and minima, and the minima that are best for the codes nearest at them.
    #[inline(never)]
    fn affine_errors<const TOP: i32>(&self, scales: &Lanes, minima: &Lanes) -> (Lanes, Lanes) {
        let inverses = scales.map(inverse);
        let (mut errors, mut above, mut weights) = ([0.0; LANES], [0.0; LANES], 0.0);
        for (value, weight) in self.values.iter().zip(&self.weights) {
            weights += weight;
            for lane in 0..LANES {
                let code = Integers::<0, TOP>::nearest((value - minima[lane]) * inverses[lane]);
                let error = value - scales[lane] * code - minima[lane];
                let weighted = error * weight;
                errors[lane] += error * weighted;
                above[lane] += weighted;
            }
        }
        (errors, places(|lane| minima[lane] + above[lane] / weights))
    }
}

impl<const GROUPS: usize, const N: usize> AffineBlock<GROUPS, N> {
    /// The block of the least squared error that is found, with factors up to `FACTOR` and codes up to `TOP`.
    ///
    /// The first scale and minimum are those whose factors are nearest to the groups' own, a second pair those which fit the
    /// codes then found best.
    #[inline(always)]
    pub fn search<const FACTOR: i32, const TOP: i32>(groups: &[Group<N>; GROUPS]) -> Self {
        let nearest = Integers::<0, FACTOR>::nearest;
        let fits = groups.each_ref().map(|group| group.best_affine::<TOP>(0.0));
        // With levels of 1 the sums of levels are those of the weights, the products those of the values.
        let sums = groups.each_ref().map(|group| moments(&group.values, &group.weights, &[1.0; N]));
        let of_scales = Group { values: fits.map(|fit| fit.scale), weights: fits.map(|fit| fit.curvature) };
        let of_minima =
            Group { values: fits.map(|fit| -fit.minimum), weights: sums.each_ref().map(|sums| sums.levels) };
        let mut scale = half(of_scales.best_scale::<Integers<0, FACTOR>>().scale);
        let mut minimum = half(of_minima.best_scale::<Integers<0, FACTOR>>().scale);
        let (factors, codes) = ([0; GROUPS], [[0; N]; GROUPS]);
        let mut best = Self { scale: 0.0, minimum: 0.0, scale_factors: factors, minimum_factors: factors, codes };
        let mut smallest = f32::INFINITY;
        for _ in 0..2 {
            let mut block = Self { scale, minimum, ..best };
            let mut error = 0.0;
            // The normal equations of the scale and the minimum.
            let (mut scale_scale, mut scale_minimum, mut minimum_minimum) = (0.0, 0.0, 0.0);
            let (mut scale_value, mut minimum_value) = (0.0, 0.0);
            for (index, group) in groups.iter().enumerate() {
                // The nearest factor is not always the best, for the group's own scale is not its only good one.
                let factor = nearest(fits[index].scale * inverse(scale));
                let scale_factors: Lanes = places(|lane| nearest(factor + lane as f32 - 4.0));
                let scales = scale_factors.map(|factor| scale * factor);
                let (_, minima) = group.affine_errors::<TOP>(&scales, &[fits[index].minimum; LANES]);
                let minimum_factors = minima.map(|group_minimum| nearest(-group_minimum * inverse(minimum)));
                let minima = minimum_factors.map(|factor| -minimum * factor);
                let (errors, _) = group.affine_errors::<TOP>(&scales, &minima);
                let lane = least(&errors);
                let (scale_factor, minimum_factor) = (scale_factors[lane], minimum_factors[lane]);
                let codes = group.codes::<TOP>(scales[lane], minima[lane]);
                let moments = moments(&group.values, &group.weights, &codes);
                error += errors[lane];
                scale_scale += moments.squares * scale_factor * scale_factor;
                scale_minimum += moments.levels * scale_factor * minimum_factor;
                minimum_minimum += sums[index].levels * minimum_factor * minimum_factor;
                scale_value += moments.products * scale_factor;
                minimum_value += sums[index].products * minimum_factor;
                block.scale_factors[index] = scale_factor as u8;
                block.minimum_factors[index] = minimum_factor as u8;
                block.codes[index] = codes.map(|code| code as u8);
            }
            if error < smallest {
                (smallest, best) = (error, block);
            }
            let determinant = scale_scale * minimum_minimum - scale_minimum * scale_minimum;
            if determinant > 1e-5 * scale_scale * minimum_minimum {
                let fitting = (scale_minimum * scale_value - scale_scale * minimum_value) / determinant;
                minimum = half(fitting).max(0.0);
            }
            scale = half((scale_value + scale_minimum * minimum) * inverse(scale_scale)).max(0.0);
        }
        best
    }
}

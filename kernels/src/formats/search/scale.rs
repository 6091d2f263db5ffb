//! The scale of a group, and the half-precision scale of a super-block with a factor of it for each group.

use super::{Fit, Fits, Group, LANES, Lanes, Levels, ends, half, inverse, least, moments, places};

/// A super-block whose groups are scaled by factors of one scale.
pub struct ScaledBlock<const GROUPS: usize, const N: usize> {
    /// The scale, a half-precision number.
    pub scale: f32,
    /// The factor of each group.
    pub factors: [i8; GROUPS],
    /// The level of each element.
    pub levels: [[i8; N]; GROUPS],
}

impl<const N: usize> Group<N> {
    /// The half-precision scale of the least squared error that is found, and the levels nearest at it.
    #[inline(always)]
    pub fn scaled<L: Levels>(&self) -> (f32, [i8; N]) {
        let scale = half(self.best_scale::<L>().scale);
        (scale, self.levels::<L>(scale).map(|level| level as i8))
    }

    /// The levels nearest to the values at a scale.
    #[inline(always)]
    fn levels<L: Levels>(&self, scale: f32) -> [f32; N] {
        let inverse = inverse(scale);
        places(|place| L::nearest(self.values[place] * inverse))
    }

    /// The scale of the least squared error that is found.
    #[inline(always)]
    pub(super) fn best_scale<L: Levels>(&self) -> Fit {
        let (smallest, largest) = ends(&self.values);
        let extreme = if -smallest > largest { smallest } else { largest };
        let mut best = Fits::default();
        // Factors that are not negative have an end at 0.
        for end in L::ENDS.into_iter().filter(|end| *end != 0.0) {
            for starts in L::STARTS {
                let inverses = places(|lane| (end + starts[lane] * end.signum()) * inverse(extreme));
                best.keep(&self.refit_scales::<L>(&inverses));
            }
        }
        for _ in 0..2 {
            best.keep(&self.refit_scales::<L>(&best.scales.map(inverse)));
        }
        best.best()
    }

    /// The best scales for the levels nearest at scales whose inverses are given.
    #[inline(never)]
    fn refit_scales<L: Levels>(&self, inverses: &Lanes) -> Fits {
        let (mut squares, mut products) = ([0.0; LANES], [0.0; LANES]);
        for (value, weight) in self.values.iter().zip(&self.weights) {
            for lane in 0..LANES {
                let level = L::nearest(value * inverses[lane]);
                let weighted = level * weight;
                squares[lane] += weighted * level;
                products[lane] += weighted * value;
            }
        }
        // A scale for levels that are all 0 is 0.
        let scales: Lanes = places(|lane| products[lane] / squares[lane].max(f32::MIN_POSITIVE));
        let errors = places(|lane| -products[lane] * scales[lane]);
        Fits { scales, minima: [0.0; LANES], curvatures: squares, errors }
    }

    /// The squared errors at scales.
    #[inline(never)]
    fn scale_errors<L: Levels>(&self, scales: &Lanes) -> Lanes {
        let inverses = scales.map(inverse);
        let mut errors = [0.0; LANES];
        for (value, weight) in self.values.iter().zip(&self.weights) {
            for lane in 0..LANES {
                let error = value - scales[lane] * L::nearest(value * inverses[lane]);
                errors[lane] += error * error * weight;
            }
        }
        errors
    }
}

impl<const GROUPS: usize, const N: usize> ScaledBlock<GROUPS, N> {
    /// The block of the least squared error that is found, with factors `F` and levels `L`.
    ///
    /// The first scale is the one whose factors are nearest to the groups' own, a second one that which fits the levels
    /// then found best.
    #[inline(always)]
    pub fn search<F: Levels, L: Levels>(groups: &[Group<N>; GROUPS]) -> Self {
        let fits = groups.each_ref().map(Group::best_scale::<L>);
        let of_scales = Group { values: fits.map(|fit| fit.scale), weights: fits.map(|fit| fit.curvature) };
        let mut best = Self { scale: 0.0, factors: [0; GROUPS], levels: [[0; N]; GROUPS] };
        let (mut scale, mut smallest) = (half(of_scales.best_scale::<F>().scale), f32::INFINITY);
        for _ in 0..2 {
            let mut block = Self { scale, ..best };
            let (mut error, mut squares, mut products) = (0.0, 0.0, 0.0);
            for (index, group) in groups.iter().enumerate() {
                // The nearest factor is not always the best, for the group's own scale is not its only good one.
                let nearest = F::nearest(fits[index].scale * inverse(scale));
                let factors: Lanes = places(|lane| F::nearest(nearest + lane as f32 - 4.0));
                let errors = group.scale_errors::<L>(&places(|lane| scale * factors[lane]));
                let lane = least(&errors);
                let (factor, levels) = (factors[lane], group.levels::<L>(scale * factors[lane]));
                let moments = moments(&group.values, &group.weights, &levels);
                error += errors[lane];
                squares += moments.squares * factor * factor;
                products += moments.products * factor;
                block.factors[index] = factor as i8;
                block.levels[index] = levels.map(|level| level as i8);
            }
            if error < smallest {
                (smallest, best) = (error, block);
            }
            scale = half(products * inverse(squares));
        }
        best
    }
}

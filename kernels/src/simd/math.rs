//! Functions of single-precision numbers, in a way that the compiler makes vectors of.

/// The first bits of ln 2, so few that products with small integers are exact, and what they are more than it.
const LN_2_HIGH: f32 = 355.0 / 512.0;
const LN_2_REST: f32 = 2.121_944_4e-4;

/// Rounds a number below 2^22 to an integer, ties to even, when it is added; the last bits of the sum are the integer.
pub const ROUNDING: f32 = (3 << 22) as f32;

/// e^x within 2 units in the last place (Cephes' polynomial), of x from -87 to 88; beyond them as at these.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    let x = x.clamp(-87.0, 88.0);
    // The last bits of the sum are the integer: a cast would saturate, which no vector instruction does.
    let sum = x * std::f32::consts::LOG2_E + ROUNDING;
    let n = sum - ROUNDING;
    let x = x - n * LN_2_HIGH + n * LN_2_REST;
    let y = ((((1.987_569_1e-4 * x + 1.398_199_9e-3) * x + 8.333_452e-3) * x + 4.166_579_6e-2) * x + 1.666_666_5e-1)
        * x
        + 0.5;
    (y * x * x + x + 1.0) * f32::from_bits(sum.to_bits().wrapping_add(127) << 23)
}

/// The hyperbolic tangent within 4 units in the last place.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    // Near 0 the difference of 1 and an exponential says too little: the first terms of its series do.
    let square = x * x;
    let series =
        x * (1.0 + square * (-1.0 / 3.0 + square * (2.0 / 15.0 + square * (-17.0 / 315.0 + square * (62.0 / 2835.0)))));
    let far = (1.0 - 2.0 / (exp(2.0 * x.abs()) + 1.0)).copysign(x);
    if x.abs() < 0.3 { series } else { far }
}

/// `x / (1 + e^(-slope * x))`.
#[inline(always)]
pub fn silu(x: f32, slope: f32) -> f32 {
    x / (1.0 + exp(-slope * x))
}

/// The Gaussian error linear unit by its approximation with tanh.
#[inline(always)]
pub fn gelu_tanh(x: f32) -> f32 {
    // 1 + tanh(u) is 2 - 2 / (e^(2u) + 1).
    let u = 0.797_884_6 * (x + 0.044_715 * x * x * x);
    x * (1.0 - 1.0 / (exp(2.0 * u) + 1.0))
}

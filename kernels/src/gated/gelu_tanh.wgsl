// GELU by its tanh. (1 + tanh(y)) / 2 is 1 / (1 + exp(-2y)), whose exponent is bounded because WGSL leaves an overflowing exp
// undefined; x / e^88 is 0 to f32.
fn $gated(x: f32, up: f32) -> f32 {
    return x / (1.0 + exp(min(-1.5957691 * (x + 0.044715 * x * x * x), 88.0))) * up;
}

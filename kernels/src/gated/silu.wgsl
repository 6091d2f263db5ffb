// SiLU. The exponent is bounded because WGSL leaves an overflowing exp undefined; x / e^88 is 0 to f32.
fn $gated(x: f32, up: f32) -> f32 {
    return x / (1.0 + exp(min(-x, 88.0))) * up;
}

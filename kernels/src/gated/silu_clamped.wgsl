// A steeper SiLU of a bounded gate, times one more than the other half, bounded on both sides.
fn $gated(x: f32, up: f32) -> f32 {
    let gate = min(x, params.limit);
    let silu = gate / (1.0 + exp(min(-1.702 * gate, 88.0)));
    return silu * (clamp(up, -params.limit, params.limit) + 1.0);
}

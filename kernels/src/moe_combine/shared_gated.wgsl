// A shared expert whose result is multiplied by the logistic function of a gate, one for each token.
fn $of(row: u32, column: u32) -> f32 {
    let gate = shared_gate[params.shared_gate_offset + row * params.shared_gate_stride];
    let result = shared_results[params.shared_results_offset + row * params.shared_results_stride + column];
    // The exponent is bounded because WGSL leaves an overflowing exp undefined.
    return result / (1.0 + exp(min(-gate, 88.0)));
}

// A shared expert whose result is multiplied by the logistic function of a gate, one for each token.
struct Params {
    width: u32,
    slots: u32,
    results_offset: u32,
    results_stride: u32,
    routes_offset: u32,
    routes_stride: u32,
    addend_offset: u32,
    addend_stride: u32,
    shared_offset: u32,
    shared_stride: u32,
    gate_offset: u32,
    gate_stride: u32,
    output_offset: u32,
    output_stride: u32,
}

@group(0) @binding(5) var<storage, read> shared_results: array<f32>; // [tokens, width]
@group(0) @binding(6) var<storage, read> gates: array<f32>; // [tokens]

fn $of(row: u32, column: u32) -> f32 {
    let gate = gates[params.gate_offset + row * params.gate_stride];
    let result = shared_results[params.shared_offset + row * params.shared_stride + column];
    // The exponent is bounded because WGSL leaves an overflowing exp undefined.
    return result / (1.0 + exp(min(-gate, 88.0)));
}

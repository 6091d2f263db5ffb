// output = activation(gate) * up, element by element.
#import activation

struct Params {
    width: u32,
    limit: f32, // of activations that have one
    gate_offset: u32,
    gate_stride: u32,
    up_offset: u32,
    up_stride: u32,
    output_offset: u32,
    output_stride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> gate: array<f32>; // [rows, width]
@group(0) @binding(2) var<storage, read> up: array<f32>; // [rows, width]
@group(0) @binding(3) var<storage, read_write> output: array<f32>; // [rows, width]

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let column = id.x;
    let row = id.y;
    if column < params.width {
        let gate_value = gate[params.gate_offset + row * params.gate_stride + column];
        let up_value = up[params.up_offset + row * params.up_stride + column];
        output[params.output_offset + row * params.output_stride + column] = activation_gated(gate_value, up_value);
    }
}

// output = activation(gate) * up, element by element.
#import activation

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

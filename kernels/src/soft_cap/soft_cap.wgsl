// output = cap * tanh(input / cap), element by element.
#import grid
#import tanh

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let column = spread_index(group, groups) * WORKGROUP + index;
    if column < params.width {
        let x = input[params.input_offset + group.y * params.input_stride + column];
        output[params.output_offset + group.y * params.output_stride + column] = params.cap * tanh_of(x / params.cap);
    }
}

// output[row][column] = input[row][order[column]].

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let column = id.x;
    let row = id.y;
    if column < params.width {
        output[params.output_offset + row * params.output_stride + column] =
            input[params.input_offset + row * params.input_stride + u32(order[column])];
    }
}

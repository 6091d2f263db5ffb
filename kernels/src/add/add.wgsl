// output = a + b, element by element.

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let column = id.x;
    let row = id.y;
    if column < params.width {
        output[params.output_offset + row * params.output_stride + column] =
            a[params.a_offset + row * params.a_stride + column] + b[params.b_offset + row * params.b_stride + column];
    }
}

// output[row][column] = input[row][order[column]].
struct Params {
    width: u32,
    input_offset: u32,
    input_stride: u32,
    output_offset: u32,
    output_stride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> order: array<f32>; // [width], whole numbers
@group(0) @binding(2) var<storage, read> input: array<f32>; // [rows, width]
@group(0) @binding(3) var<storage, read_write> output: array<f32>; // [rows, width]

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let column = id.x;
    let row = id.y;
    if column < params.width {
        output[params.output_offset + row * params.output_stride + column] =
            input[params.input_offset + row * params.input_stride + u32(order[column])];
    }
}

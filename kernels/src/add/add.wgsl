// output = a + b, element by element.
struct Params {
    width: u32,
    a_offset: u32,
    a_stride: u32,
    b_offset: u32,
    b_stride: u32,
    output_offset: u32,
    output_stride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>; // [rows, width]
@group(0) @binding(2) var<storage, read> b: array<f32>; // [rows, width]
@group(0) @binding(3) var<storage, read_write> output: array<f32>; // [rows, width]

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let column = id.x;
    let row = id.y;
    if column < params.width {
        output[params.output_offset + row * params.output_stride + column] =
            a[params.a_offset + row * params.a_stride + column] + b[params.b_offset + row * params.b_stride + column];
    }
}

// output = input * (1 + growth * ln(1 + position / span)), position / span being whole: each row by its token's position.
#import grid

struct Params {
    width: u32,
    growth: f32,
    span: u32,
    input_offset: u32,
    input_stride: u32,
    output_offset: u32,
    output_stride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> tokens: array<vec4<u32>>; // [tokens] of id, position, sequence, 1 in a long one
@group(0) @binding(2) var<storage, read> input: array<f32>; // [tokens, width]
@group(0) @binding(3) var<storage, read_write> output: array<f32>; // [tokens, width]

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let column = spread_index(group, groups) * WORKGROUP + index;
    if column < params.width {
        let spans = tokens[group.y].y / params.span;
        let factor = 1.0 + params.growth * log(f32(1u + spans));
        output[params.output_offset + group.y * params.output_stride + column] =
            factor * input[params.input_offset + group.y * params.input_stride + column];
    }
}

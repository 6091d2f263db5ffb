// Turns pairs of elements of each head by angles of the token's position. One invocation for each pair.
#import pairing

struct Params {
    pairs: u32, // in a row, those that only pass among them
    head_width: u32,
    rotated: u32,
    table_stride: u32,
    long_offset: u32, // in a row, from the table for short sequences to that for long ones
    input_offset: u32,
    input_stride: u32,
    output_offset: u32,
    output_stride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> tokens: array<vec4<u32>>; // [tokens] of id, position, sequence, 1 in a long one
@group(0) @binding(2) var<storage, read> input: array<f32>; // [tokens, heads, head_width]
@group(0) @binding(3) var<storage, read> table: array<f32>; // [FINE_POSITIONS + coarse rows, tables, rotated / 2, (cos, sin)]
@group(0) @binding(4) var<storage, read_write> output: array<f32>; // [tokens, heads, head_width]

#import rotation

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let token = id.y;
    if id.x >= params.pairs {
        return;
    }
    let pairs_of_head = params.head_width / 2u;
    let head = id.x / pairs_of_head;
    let pair = id.x % pairs_of_head;
    let elements = pairing_elements(pair, params.rotated) + vec2<u32>(head * params.head_width);
    let input_row = params.input_offset + token * params.input_stride;
    let output_row = params.output_offset + token * params.output_stride;
    let x = input[input_row + elements.x];
    let y = input[input_row + elements.y];
    if 2u * pair >= params.rotated {
        output[output_row + elements.x] = x;
        output[output_row + elements.y] = y;
        return;
    }
    let turn = rotation_of(tokens[token], pair);
    output[output_row + elements.x] = x * turn.x - y * turn.y;
    output[output_row + elements.y] = x * turn.y + y * turn.x;
}

// What both kernels of a grouped matmul bind. `rows`, `places`, `weight`, `input`, `bias` and `finish` are functions over it.
struct Params {
    rows: u32, // of the results of a slot, all parts
    row_stride: u32, // of the weight, in vec4
    width: u32, // elements along k
    input_offset: u32, // in vec4
    input_stride: u32, // in vec4
    output_offset: u32,
    output_stride: u32,
    first_row: u32, // of this shard among all rows
    shard_rows: u32,
    part_rows: u32, // of one part of a matrix
    part_stride: u32, // rows of the weight from a part to the next
    matrix_stride: u32, // from a matrix to the next
    step: u32, // from a row of a part to the next
    slots: u32,
    slot_quads: u32, // of the input from a slot to the next, in vec4; 0 where slots share it
    routes_offset: u32,
    routes_stride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> weight_words: array<vec4<u32>>; // [some rows of all matrices, row_stride]
@group(0) @binding(2) var<storage, read> input: array<vec4<f32>>; // [tokens, input_stride]
@group(0) @binding(3) var<storage, read_write> output: array<f32>; // [tokens, parts, slots, part_rows]

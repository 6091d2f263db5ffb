// What both matmul kernels bind. `weight`, `input`, `bias` and `finish` are functions over it.
struct Params {
    rows: u32, // of this shard
    row_stride: u32, // of the weight, in vec4
    width: u32, // elements along k
    input_offset: u32, // in vec4
    input_stride: u32, // in vec4
    output_offset: u32, // with the shard's first row
    output_stride: u32,
    residual_offset: u32, // with the shard's first row
    residual_stride: u32,
    first_row: u32, // of this shard among all rows
    scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> weight_words: array<vec4<u32>>; // [rows, row_stride]
// For tiles, rows of input and output are allotted in whole tiles: those behind the step's last are computed and not read.
@group(0) @binding(2) var<storage, read> input: array<vec4<f32>>; // [rows of input, input_stride]
@group(0) @binding(3) var<storage, read_write> output: array<f32>; // [rows of input, rows of all shards]

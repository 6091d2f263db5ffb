// Matrix times COLUMNS rows of input: a workgroup goes along ROWS rows of the weight together. A lane takes PARTS quarters of a block of 32 at
// a time, so that neighbouring lanes read neighbouring words of the weight and neighbouring quads of the input.
#import quarter
#import grid
#import reduce

#import row
#import batch
#import weight
#import input
#import norm
#import bias
#import finish

// Rows of the output that a workgroup computes, each from `finish_PARTS` rows of the weight.
const OUTPUT_ROWS: u32 = ROWS / finish_PARTS;
const OUTPUTS: u32 = COLUMNS * OUTPUT_ROWS;
// Of each row of input with each row of the weight.
const PRODUCTS: u32 = COLUMNS * ROWS;
// The products, and what the norm needs of each row of input.
const SUMS: u32 = PRODUCTS + norm_SUMS;

#import sums

fn write_output(index: u32, first_row: u32, first_input: u32, lane: Lane) {
    let column = index / OUTPUT_ROWS;
    let output_row = index % OUTPUT_ROWS;
    let row = first_row + output_row;
    if row_in_shard(row) {
        let scale = norm_scale(column, lane);
        var products: array<f32, finish_PARTS>;
        for (var part = 0u; part < finish_PARTS; part++) {
            products[part] = scale * sums_total(column * ROWS + part * OUTPUT_ROWS + output_row, lane);
        }
        finish_write(first_input + column, row, products);
    }
}

// Adds the products of a quarter of the rows that begin at `rows` with the same of the rows of input.
fn add_quarter(rows: array<u32, ROWS>, index: u32, first_input: u32, sums: ptr<function, array<f32, SUMS>>) {
    let blocks32 = (params.width + 31u) / 32u;
    let block32 = index >> 2u;
    let quarter = index & 3u;
    let quads = weight_quads(quarter) + vec2<u32>(block32 * 8u);
    var weights: array<Quarter, ROWS>;
    for (var row = 0u; row < ROWS; row++) {
        weights[row] = weight_decode(rows[row], blocks32, block32, quarter);
    }
    let first_gain = norm_gain(quads.x);
    let second_gain = norm_gain(quads.y);
    for (var column = 0u; column < COLUMNS; column++) {
        let first_input_quad = input_quad(first_input + column, quads.x);
        let second_input_quad = input_quad(first_input + column, quads.y);
        norm_add(column, first_input_quad, second_input_quad, sums);
        let first = first_input_quad * first_gain;
        let second = second_input_quad * second_gain;
        // What offsets and minima are multiplied with.
        let totals = vec2<f32>(first.x + first.y + first.z + first.w, second.x + second.y + second.z + second.w);
        for (var row = 0u; row < ROWS; row++) {
            let weight = weights[row];
            let dots = vec2<f32>(dot(weight.first, first), dot(weight.second, second)) + weight.offsets * totals;
            (*sums)[column * ROWS + row] += dot(weight.scales, dots) + dot(weight.minima, totals);
        }
    }
}

fn run(group: vec3<u32>, groups: vec3<u32>, lane: Lane) {
    let first_input = batch_offset(group.y, groups.y, 0u);
    let first_row = spread_index(group, groups) * OUTPUT_ROWS;
    if batch_empty() || row_none_of(first_row, OUTPUT_ROWS) {
        return;
    }
    var rows: array<u32, ROWS>;
    for (var row = 0u; row < ROWS; row++) {
        rows[row] = row_at(first_row + row % OUTPUT_ROWS, row / OUTPUT_ROWS) * params.row_stride;
    }
    let quarters = (params.width + 31u) / 32u * 4u;
    var sums: array<f32, SUMS>;
    for (var index = lane.index * PARTS; index < quarters; index += WORKGROUP * PARTS) {
        for (var part = 0u; part < PARTS; part++) {
            add_quarter(rows, index + part, first_input, &sums);
        }
    }
    sums_write(&sums, first_row, first_input, lane);
}

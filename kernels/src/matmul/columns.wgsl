// Matrix times COLUMNS rows of input: a workgroup goes along ROWS rows of the weight together. A lane takes PARTS quarters of a block of 32 one
// after the other, so that neighbouring lanes read neighbouring words of the weight and neighbouring quads of the input.
#import quarter
#import grid
#import reduce

#import row
#import batch
#import weight
#import norm
#import bias
#import finish

// Rows of the output that a workgroup computes, each from `finish_PARTS` rows of the weight.
const OUTPUT_ROWS: u32 = ROWS / finish_PARTS;
const OUTPUTS: u32 = COLUMNS * OUTPUT_ROWS;
// Of each row of input: its products with each row of the weight, and what the norm needs of it.
const COLUMN_SUMS: u32 = ROWS + norm_SUMS;
const SUMS: u32 = COLUMNS * COLUMN_SUMS;

#import sums
#import column

fn write_output(index: u32, first_row: u32, first_input: u32, lane: Lane) {
    let column = index / OUTPUT_ROWS;
    let output_row = index % OUTPUT_ROWS;
    let row = first_row + output_row;
    if row_in_shard(row) {
        let first_sum = column * COLUMN_SUMS;
        // The sum of squares comes last, where there is one.
        let scale = norm_scale(sums_total(first_sum + COLUMN_SUMS - 1u, lane));
        var products: array<f32, finish_PARTS>;
        for (var part = 0u; part < finish_PARTS; part++) {
            products[part] = scale * sums_total(first_sum + part * OUTPUT_ROWS + output_row, lane);
        }
        finish_write(first_input + column, row, products);
    }
}

// Adds the squares of a row of input to what the norm needs.
fn add_squares(column: u32, squares: f32, sums: ptr<function, array<f32, SUMS>>) {
    for (var place = 0u; place < norm_SUMS; place++) {
        (*sums)[column * COLUMN_SUMS + ROWS + place] += squares;
    }
}

// The quarter that a lane takes after one: the next of its PARTS, or the first of the next PARTS, past those of the other lanes.
fn quarter_after(index: u32) -> u32 {
    let next = index + 1u;
    return select(next, next + (WORKGROUP - 1u) * PARTS, next % PARTS == 0u);
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
    let blocks32 = (params.width + 31u) / 32u;
    var sums: array<f32, SUMS>;
    for (var index = lane.index * PARTS; index < blocks32 * 4u; index = quarter_after(index)) {
        let quarter = index & 3u;
        var weights: array<Quarter, ROWS>;
        for (var row = 0u; row < ROWS; row++) {
            weights[row] = weight_decode(rows[row], blocks32, index >> 2u, quarter);
        }
        column_add(&weights, index >> 2u, quarter, first_input, &sums);
    }
    sums_write(&sums, first_row, first_input, lane);
}

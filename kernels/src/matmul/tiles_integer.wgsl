// Matrix times many rows of input in bytes: SIDE × SIDE invocations compute a tile of TILE × TILE results, 4 × 4 each, BLOCKS blocks of 32 along k at
// a time, by dot products of four bytes.
#import quarter
#import grid

const TILE: u32 = SIDE * 4u;
// Words from a row of the weight tile to the next: eight of codes, and the scales and shifts of both halves. Of the input tile these are three vec4.
const ROW_WORDS: u32 = 12u;
// Quarters of blocks of the weight, and vec4 of the input, that an invocation loads at a time: all of them are on their way before the first is used.
const PARTS: u32 = TILE * BLOCKS * 4u / (SIDE * SIDE);
const INPUT_VEC4: u32 = TILE * BLOCKS * 3u;
const INPUT_PARTS: u32 = (INPUT_VEC4 + SIDE * SIDE - 1u) / (SIDE * SIDE);

#import row
#import batch
#import weight
#import bias
#import finish
#import norm
#import results
#import rounded
#import scales

// Rows of the output that a tile computes, each from `finish_PARTS` rows of its weight.
const OUTPUT_ROWS: u32 = TILE / finish_PARTS;

var<workgroup> weight_tile: array<u32, BLOCKS * TILE * ROW_WORDS>; // [BLOCKS, TILE rows of the weight, ROW_WORDS]
var<workgroup> input_tile: array<vec4<u32>, INPUT_VEC4>; // [BLOCKS, TILE rows of input, 3]

// A block of 32 of a row: bytes; of a weight the scales and shifts of its halves, of an input what rounded_blocks.wgsl says.
struct Block {
    first: vec4<u32>,
    second: vec4<u32>,
    numbers: vec4<f32>,
}

fn weight_words_at(at: u32) -> vec4<u32> {
    return vec4<u32>(weight_tile[at], weight_tile[at + 1u], weight_tile[at + 2u], weight_tile[at + 3u]);
}

fn weight_block(row: u32) -> Block {
    let at = row * ROW_WORDS;
    return Block(weight_words_at(at), weight_words_at(at + 4u), bitcast<vec4<f32>>(weight_words_at(at + 8u)));
}

fn input_block(row: u32) -> Block {
    return Block(input_tile[row * 3u], input_tile[row * 3u + 1u], bitcast<vec4<f32>>(input_tile[row * 3u + 2u]));
}

fn dots(weight: vec4<u32>, x: vec4<u32>) -> i32 {
    return dot4I8Packed(weight.x, x.x) + dot4I8Packed(weight.y, x.y) + dot4I8Packed(weight.z, x.z) + dot4I8Packed(weight.w, x.w);
}

fn product(weight: Block, x: Block) -> f32 {
    let dots = vec2<i32>(dots(weight.first, x.first), dots(weight.second, x.second));
    return x.numbers.x * scales_dots(weight.numbers.xy, dots) + scales_shifts(weight.numbers.zw, x.numbers.yz);
}

// Puts a quad of a row of the weight into its tile; the first of a half brings its scale, and what its elements are shifted by.
fn put(row: u32, quad: u32, codes: Codes, scale: f32, offset: f32, minimum: f32) {
    weight_tile[row * ROW_WORDS + quad] = codes;
    if quad % 4u == 0u {
        let at = row * ROW_WORDS + 8u + quad / 4u;
        weight_tile[at] = bitcast<u32>(scale);
        weight_tile[at + 2u] = bitcast<u32>(scale * offset + minimum);
    }
}

@compute @workgroup_size(SIDE * SIDE)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let blocks32 = (params.width + 31u) / 32u;
    let first_row = spread_index(group, groups) * OUTPUT_ROWS;
    let first_input = batch_offset(group.y, groups.y, TILE);
    if batch_empty() || row_none_of(first_row, OUTPUT_ROWS) {
        return;
    }
    let weight_lane = index % SIDE;
    let input_lane = index / SIDE;
    // sums_i[j]: row `input_lane + i * SIDE` of the input tile times row `weight_lane + j * SIDE` of the weight tile.
    var sums_0 = vec4<f32>(0.0);
    var sums_1 = vec4<f32>(0.0);
    var sums_2 = vec4<f32>(0.0);
    var sums_3 = vec4<f32>(0.0);
    // Of the four rows of input.
    var squares = vec4<f32>(0.0);

    for (var first_block = 0u; first_block < blocks32; first_block += BLOCKS) {
        // Neighbouring lanes read neighbouring blocks of a row. After a row's end they repeat the last, which is not multiplied.
        var weights: array<Quarter, PARTS>;
        for (var own = 0u; own < PARTS; own++) {
            let part = own * SIDE * SIDE + index;
            let row = part / (BLOCKS * 4u);
            let words = row_at(first_row + row % OUTPUT_ROWS, row / OUTPUT_ROWS) * params.row_stride;
            weights[own] = weight_decode(words, blocks32, min(first_block + part / 4u % BLOCKS, blocks32 - 1u), part % 4u);
        }
        var inputs: array<vec4<u32>, INPUT_PARTS>;
        for (var own = 0u; own < INPUT_PARTS; own++) {
            let part = min(own * SIDE * SIDE + index, INPUT_VEC4 - 1u);
            // A block is eight quads of the input as it was.
            let row_begin = batch_input(first_input + part / (BLOCKS * 3u)) / 8u;
            inputs[own] = activations[rounded_at(row_begin + min(first_block + part / 3u % BLOCKS, blocks32 - 1u), part % 3u)];
        }
        for (var own = 0u; own < PARTS; own++) {
            let part = own * SIDE * SIDE + index;
            let row = part / 4u % BLOCKS * TILE + part / (BLOCKS * 4u);
            let quads = weight_quads(part % 4u);
            let weight = weights[own];
            put(row, quads.x, weight.first, weight.scales.x, weight.offsets.x, weight.minima.x);
            put(row, quads.y, weight.second, weight.scales.y, weight.offsets.y, weight.minima.y);
        }
        for (var own = 0u; own < INPUT_PARTS; own++) {
            let part = own * SIDE * SIDE + index;
            if part < INPUT_VEC4 {
                input_tile[(part / 3u % BLOCKS * TILE + part / (BLOCKS * 3u)) * 3u + part % 3u] = inputs[own];
            }
        }
        workgroupBarrier();

        for (var block = 0u; block < min(BLOCKS, blocks32 - first_block); block++) {
            let w = block * TILE + weight_lane;
            let x = block * TILE + input_lane;
            let w_0 = weight_block(w);
            let w_1 = weight_block(w + SIDE);
            let w_2 = weight_block(w + 2u * SIDE);
            let w_3 = weight_block(w + 3u * SIDE);
            let x_0 = input_block(x);
            sums_0 += vec4<f32>(product(w_0, x_0), product(w_1, x_0), product(w_2, x_0), product(w_3, x_0));
            let x_1 = input_block(x + SIDE);
            sums_1 += vec4<f32>(product(w_0, x_1), product(w_1, x_1), product(w_2, x_1), product(w_3, x_1));
            let x_2 = input_block(x + 2u * SIDE);
            sums_2 += vec4<f32>(product(w_0, x_2), product(w_1, x_2), product(w_2, x_2), product(w_3, x_2));
            let x_3 = input_block(x + 3u * SIDE);
            sums_3 += vec4<f32>(product(w_0, x_3), product(w_1, x_3), product(w_2, x_3), product(w_3, x_3));
            squares += vec4<f32>(x_0.numbers.w, x_1.numbers.w, x_2.numbers.w, x_3.numbers.w);
        }
        workgroupBarrier();
    }

    let sums = array<vec4<f32>, 4>(
        norm_scale(squares.x) * sums_0,
        norm_scale(squares.y) * sums_1,
        norm_scale(squares.z) * sums_2,
        norm_scale(squares.w) * sums_3,
    );
    results_write(first_input + input_lane, first_row + weight_lane, sums);
}

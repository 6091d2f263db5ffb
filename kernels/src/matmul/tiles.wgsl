// Matrix times many rows of input: SIDE × SIDE invocations compute a tile of TILE × TILE results, 4 × 4 each,
// one block of 32 along k at a time. The weights' scales stay beside the tile, in f32, one for 16 elements.
#import quarter
#import grid
#import tile

const TILE: u32 = SIDE * 4u;
// Quads from a row of a tile to the next: 8, and one to spread the rows over memory banks.
const TILE_STRIDE: u32 = 9u;

#import row
#import batch
#import weight
#import input
#import bias
#import finish
#import results

// Rows of the output that a tile computes, each from `finish_PARTS` rows of its weight.
const OUTPUT_ROWS: u32 = TILE / finish_PARTS;

var<workgroup> weight_tile: array<TileQuad, TILE * TILE_STRIDE>; // [TILE rows of the weight, 8 of TILE_STRIDE]
var<workgroup> weight_scales: array<f32, TILE * 2u>; // [TILE rows of the weight, 2]
var<workgroup> input_tile: array<vec4<f32>, TILE * TILE_STRIDE>; // [TILE rows of input, 8 of TILE_STRIDE]

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

    for (var block32 = 0u; block32 < blocks32; block32++) {
        for (var part = index; part < TILE * 4u; part += SIDE * SIDE) {
            let row = part / 4u;
            let words = row_at(first_row + row % OUTPUT_ROWS, row / OUTPUT_ROWS) * params.row_stride;
            let weight = weight_decode(words, blocks32, block32, part % 4u);
            let quads = weight_quads(part % 4u);
            weight_tile[row * TILE_STRIDE + quads.x] = tile_pack(weight.first, weight.scales.x, weight.offsets.x, weight.minima.x);
            weight_tile[row * TILE_STRIDE + quads.y] = tile_pack(weight.second, weight.scales.y, weight.offsets.y, weight.minima.y);
            // The first quad of 16 elements brings their scale.
            if quads.x % 4u == 0u {
                weight_scales[row * 2u + quads.x / 4u] = tile_scale(weight.scales.x);
            }
            if quads.y % 4u == 0u {
                weight_scales[row * 2u + quads.y / 4u] = tile_scale(weight.scales.y);
            }
        }
        for (var quad = index; quad < TILE * 8u; quad += SIDE * SIDE) {
            input_tile[quad / 8u * TILE_STRIDE + quad % 8u] = input_quad(first_input + quad / 8u, block32 * 8u + quad % 8u);
        }
        workgroupBarrier();

        for (var half = 0u; half < 2u; half++) {
            var half_0 = vec4<f32>(0.0);
            var half_1 = vec4<f32>(0.0);
            var half_2 = vec4<f32>(0.0);
            var half_3 = vec4<f32>(0.0);
            for (var quad = half * 4u; quad < half * 4u + 4u; quad++) {
                let w_0 = tile_unpack(weight_tile[weight_lane * TILE_STRIDE + quad]);
                let w_1 = tile_unpack(weight_tile[(weight_lane + SIDE) * TILE_STRIDE + quad]);
                let w_2 = tile_unpack(weight_tile[(weight_lane + 2u * SIDE) * TILE_STRIDE + quad]);
                let w_3 = tile_unpack(weight_tile[(weight_lane + 3u * SIDE) * TILE_STRIDE + quad]);
                let x_0 = input_tile[input_lane * TILE_STRIDE + quad];
                let x_1 = input_tile[(input_lane + SIDE) * TILE_STRIDE + quad];
                let x_2 = input_tile[(input_lane + 2u * SIDE) * TILE_STRIDE + quad];
                let x_3 = input_tile[(input_lane + 3u * SIDE) * TILE_STRIDE + quad];
                half_0 += vec4<f32>(dot(w_0, x_0), dot(w_1, x_0), dot(w_2, x_0), dot(w_3, x_0));
                half_1 += vec4<f32>(dot(w_0, x_1), dot(w_1, x_1), dot(w_2, x_1), dot(w_3, x_1));
                half_2 += vec4<f32>(dot(w_0, x_2), dot(w_1, x_2), dot(w_2, x_2), dot(w_3, x_2));
                half_3 += vec4<f32>(dot(w_0, x_3), dot(w_1, x_3), dot(w_2, x_3), dot(w_3, x_3));
            }
            let scales = vec4<f32>(
                weight_scales[weight_lane * 2u + half],
                weight_scales[(weight_lane + SIDE) * 2u + half],
                weight_scales[(weight_lane + 2u * SIDE) * 2u + half],
                weight_scales[(weight_lane + 3u * SIDE) * 2u + half],
            );
            sums_0 += scales * half_0;
            sums_1 += scales * half_1;
            sums_2 += scales * half_2;
            sums_3 += scales * half_3;
        }
        workgroupBarrier();
    }

    let sums = array<vec4<f32>, 4>(sums_0, sums_1, sums_2, sums_3);
    results_write(first_input + input_lane, first_row + weight_lane, sums);
}

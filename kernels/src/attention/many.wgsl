// Attention of many tokens: one workgroup for each block of queries and query head. A few lanes share a query: each
// scores its part of a tile's keys and then sums its part of the head's quads.
#import grid
#import kv

#import pages
#import cached
#import tanh
#import score
#import sink

// The first key that a token at a position sees.
fn first_seen(position: u32) -> u32 {
    return position + 1u - min(params.window, position + 1u);
}

const LOWEST: f32 = -1.7e38;
const TILE: u32 = 32u; // keys
const LANE_KEYS: u32 = TILE / LANES;
const LANE_QUADS: u32 = (VALUE_QUADS + LANES - 1u) / LANES;

var<workgroup> weights: array<f32, QUERIES * (TILE + 1u)>; // [QUERIES, TILE of TILE + 1]
var<workgroup> lane_values: array<f32, QUERIES * LANES>;

#import lanes

@compute @workgroup_size(QUERIES * LANES)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let head = spread_index(group, groups);
    if head >= params.kv_heads * params.group {
        return;
    }
    let kv_head = head / params.group;
    let block = blocks[group.y];
    let query = index / LANES;
    let lane = index % LANES;
    // Queries after the block's last repeat it, and are not written.
    let row = block.x + min(query, block.y - 1u);
    let position = tokens[row].y;
    let first_key = first_seen(position);
    let block_keys = tokens[block.x + block.y - 1u].y + 1u;
    let input_row = params.input_offset + row * params.input_stride + (params.first_head + head) * KEY_QUADS;

    var head_sums: array<vec4<f32>, LANE_QUADS>;
    var largest = sink_largest(params.first_head + head);
    var total = sink_TOTAL;
    // The block's first query sees the first key of all.
    for (var tile = first_seen(tokens[block.x].y) / TILE * TILE; tile < block_keys; tile += TILE) {
        // Scores of this lane's keys.
        var scores: array<f32, LANE_KEYS>;
        var lane_largest = LOWEST;
        for (var own = 0u; own < LANE_KEYS; own++) {
            let key_position = tile + own * LANES + lane;
            scores[own] = LOWEST;
            if key_position >= first_key && key_position <= position {
                let at = pages_place(block.z, key_position, kv_head, params.kv_heads) * KEY_WORDS;
                var score = 0.0;
                for (var quad = 0u; quad < KEY_QUADS; quad++) {
                    score += dot(input[input_row + quad], cached_key(at, quad));
                }
                scores[own] = score_of(score * params.scale);
                lane_largest = max(lane_largest, scores[own]);
            }
        }
        lane_values[index] = lane_largest;
        workgroupBarrier();
        let first_lane = query * LANES;
        let new_largest = max(largest, lanes_max(first_lane));
        let shrink = exp(largest - new_largest);
        largest = new_largest;
        workgroupBarrier();

        // Weights of this lane's keys.
        var lane_total = 0.0;
        for (var own = 0u; own < LANE_KEYS; own++) {
            let key = own * LANES + lane;
            let seen = tile + key >= first_key && tile + key <= position;
            let weight = select(0.0, exp(scores[own] - largest), seen);
            weights[query * (TILE + 1u) + key] = weight;
            lane_total += weight;
        }
        lane_values[index] = lane_total;
        workgroupBarrier();
        total = total * shrink + lanes_sum(first_lane);

        // Values of this lane's quads.
        for (var own = 0u; own < LANE_QUADS; own++) {
            head_sums[own] *= shrink;
        }
        let keys_of_tile = min(TILE, block_keys - tile);
        for (var key = 0u; key < keys_of_tile; key++) {
            let weight = weights[query * (TILE + 1u) + key];
            let at = pages_place(block.z, tile + key, kv_head, params.kv_heads) * VALUE_WORDS;
            for (var own = 0u; own < LANE_QUADS; own++) {
                let quad = own * LANES + lane;
                if quad < VALUE_QUADS {
                    head_sums[own] += weight * cached_value(at, quad);
                }
            }
        }
        workgroupBarrier();
    }

    if query < block.y {
        let head_quad = (params.first_head + head) * VALUE_QUADS;
        let output_row = params.output_offset + row * params.output_stride + head_quad;
        for (var own = 0u; own < LANE_QUADS; own++) {
            let quad = own * LANES + lane;
            if quad < VALUE_QUADS {
                output[output_row + quad] = head_sums[own] / total;
            }
        }
    }
}

// Attention of many tokens in tiles: one workgroup for each block of queries and HEADS query heads that share a KV head. Their queries are the ROWS of a
// tile, those of a token together, the keys of a page its columns; a lane has 4 rows, scores them with its part of the keys, and then sums its part of
// the heads' quads.
#import grid
#import kv

#import pages
#import cached
#import tanh
#import score
#import sink

const ROWS: u32 = QUERIES * HEADS;
const ROW_LANES: u32 = ROWS / 4u;
const WORKGROUP: u32 = ROW_LANES * COLUMN_LANES;
const LANE_KEYS: u32 = PAGE_TOKENS / COLUMN_LANES;
const LANE_QUADS: u32 = (VALUE_QUADS + COLUMN_LANES - 1u) / COLUMN_LANES;
const HEAD_SUMS: u32 = LANE_QUADS * 4u;
const LOWEST: f32 = -1.7e38;

// CHUNK quads of a head are multiplied at a time; a row of them is one longer in memory, to spread rows over banks.
const CHUNK_STRIDE: u32 = CHUNK + 1u;
const KEYS_BEGIN: u32 = ROWS * CHUNK_STRIDE;
const CHUNK_QUADS: u32 = (ROWS + PAGE_TOKENS) * CHUNK_STRIDE;
const WEIGHT_STRIDE: u32 = ROW_LANES + 1u;

// First [ROWS, CHUNK of CHUNK_STRIDE] of queries and [PAGE_TOKENS, CHUNK of CHUNK_STRIDE] of keys, then [VALUE_KEYS, VALUE_QUADS] of values.
var<workgroup> tile: array<vec4<f32>, CHUNK_QUADS>;
var<workgroup> weights: array<vec4<f32>, PAGE_TOKENS * WEIGHT_STRIDE>; // [PAGE_TOKENS, ROW_LANES of WEIGHT_STRIDE] of 4 rows
var<workgroup> lane_values: array<vec4<f32>, WORKGROUP>; // [ROW_LANES, COLUMN_LANES] of 4 rows

// The first key that a token at a position sees.
fn first_seen(position: u32) -> u32 {
    return position + 1u - min(params.window, position + 1u);
}

// Adds the products of a quad of four queries with that of a lane's keys.
fn add_scores(row_lane: u32, column_lane: u32, quad: u32, scores: ptr<function, array<vec4<f32>, LANE_KEYS>>) {
    let first = row_lane * 4u * CHUNK_STRIDE + quad;
    let q_0 = tile[first];
    let q_1 = tile[first + CHUNK_STRIDE];
    let q_2 = tile[first + 2u * CHUNK_STRIDE];
    let q_3 = tile[first + 3u * CHUNK_STRIDE];
    for (var own = 0u; own < LANE_KEYS; own++) {
        let key = tile[KEYS_BEGIN + (own * COLUMN_LANES + column_lane) * CHUNK_STRIDE + quad];
        (*scores)[own] += vec4<f32>(dot(q_0, key), dot(q_1, key), dot(q_2, key), dot(q_3, key));
    }
}

// Adds a lane's quads of a value of the tile, in four weights.
fn add_values(weight: vec4<f32>, key: u32, column_lane: u32, sums: ptr<function, array<vec4<f32>, HEAD_SUMS>>) {
    for (var own = 0u; own < LANE_QUADS; own++) {
        let value = tile[key * VALUE_QUADS + min(own * COLUMN_LANES + column_lane, VALUE_QUADS - 1u)];
        (*sums)[own * 4u] += weight.x * value;
        (*sums)[own * 4u + 1u] += weight.y * value;
        (*sums)[own * 4u + 2u] += weight.z * value;
        (*sums)[own * 4u + 3u] += weight.w * value;
    }
}

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let share = spread_index(group, groups);
    if share >= params.kv_heads * params.parts {
        return;
    }
    let kv_head = share / params.parts;
    let first_head = params.first_head + share * HEADS;
    let block = blocks[group.y];
    let row_lane = index / COLUMN_LANES;
    let column_lane = index % COLUMN_LANES;
    // Queries after the block's last repeat it, and are not written; lanes that have nothing else compute nothing.
    let is_used = row_lane * 4u / HEADS < block.y;
    var positions: vec4<u32>;
    var first_keys: vec4<u32>;
    var largest: vec4<f32>;
    for (var i = 0u; i < 4u; i++) {
        let row = row_lane * 4u + i;
        positions[i] = tokens[block.x + min(row / HEADS, block.y - 1u)].y;
        first_keys[i] = first_seen(positions[i]);
        largest[i] = sink_largest(first_head + row % HEADS);
    }
    let block_keys = tokens[block.x + block.y - 1u].y + 1u;

    var head_sums: array<vec4<f32>, HEAD_SUMS>; // [LANE_QUADS, 4 rows]
    var totals = vec4<f32>(select(0.0, sink_TOTAL, column_lane == 0u));
    // The block's first query sees the first key of all.
    for (var page = first_seen(tokens[block.x].y) / PAGE_TOKENS * PAGE_TOKENS; page < block_keys; page += PAGE_TOKENS) {
        let place = pages_place(block.z, page, kv_head, params.kv_heads);
        var scores: array<vec4<f32>, LANE_KEYS>;
        for (var chunk = 0u; chunk < KEY_QUADS; chunk += CHUNK) {
            for (var at = index; at < ROWS * CHUNK; at += WORKGROUP) {
                let row = at / CHUNK;
                let quad = chunk + at % CHUNK;
                let token = block.x + min(row / HEADS, block.y - 1u);
                let head_quad = (first_head + row % HEADS) * KEY_QUADS + min(quad, KEY_QUADS - 1u);
                let elements = input[params.input_offset + token * params.input_stride + head_quad];
                tile[row * CHUNK_STRIDE + at % CHUNK] = select(vec4<f32>(0.0), elements, quad < KEY_QUADS);
            }
            for (var at = index; at < PAGE_TOKENS * CHUNK; at += WORKGROUP) {
                // After the head's end the query is 0; a key repeats its last quad.
                let quad = min(chunk + at % CHUNK, KEY_QUADS - 1u);
                tile[KEYS_BEGIN + at / CHUNK * CHUNK_STRIDE + at % CHUNK] = cached_key_alone((place + at / CHUNK) * KEY_WORDS, quad);
            }
            workgroupBarrier();
            if is_used {
                for (var quad = 0u; quad < CHUNK; quad++) {
                    add_scores(row_lane, column_lane, quad, &scores);
                }
            }
            workgroupBarrier();
        }

        // What is not seen has the lowest score, and no weight.
        var lane_largest = vec4<f32>(LOWEST);
        for (var own = 0u; own < LANE_KEYS; own++) {
            let key = vec4<u32>(page + own * COLUMN_LANES + column_lane);
            let seen = (key >= first_keys) & (key <= positions);
            let score = scores[own] * params.scale;
            scores[own] = select(vec4<f32>(LOWEST), vec4<f32>(score_of(score.x), score_of(score.y), score_of(score.z), score_of(score.w)), seen);
            lane_largest = max(lane_largest, scores[own]);
        }
        lane_values[index] = lane_largest;
        workgroupBarrier();
        var new_largest = largest;
        for (var lane = 0u; lane < COLUMN_LANES; lane++) {
            new_largest = max(new_largest, lane_values[row_lane * COLUMN_LANES + lane]);
        }
        let shrink = exp(largest - new_largest);
        largest = new_largest;
        totals *= shrink;
        for (var own = 0u; own < LANE_KEYS; own++) {
            let key = own * COLUMN_LANES + column_lane;
            let seen = (vec4<u32>(page + key) >= first_keys) & (vec4<u32>(page + key) <= positions);
            let weight = select(vec4<f32>(0.0), exp(scores[own] - largest), seen);
            weights[key * WEIGHT_STRIDE + row_lane] = weight;
            totals += weight;
        }
        for (var own = 0u; own < LANE_QUADS; own++) {
            for (var i = 0u; i < 4u; i++) {
                head_sums[own * 4u + i] *= shrink[i];
            }
        }

        for (var first = 0u; first < min(PAGE_TOKENS, block_keys - page); first += VALUE_KEYS) {
            for (var at = index; at < VALUE_KEYS * VALUE_QUADS; at += WORKGROUP) {
                let key = first + at / VALUE_QUADS;
                let elements = cached_value((place + key) * VALUE_WORDS, at % VALUE_QUADS);
                // Nothing was written yet after the block's last key.
                tile[at] = select(vec4<f32>(0.0), elements, page + key < block_keys);
            }
            workgroupBarrier();
            if is_used {
                for (var key = 0u; key < VALUE_KEYS; key++) {
                    add_values(weights[(first + key) * WEIGHT_STRIDE + row_lane], key, column_lane, &head_sums);
                }
            }
            workgroupBarrier();
        }
    }

    lane_values[index] = totals;
    workgroupBarrier();
    var total = vec4<f32>(0.0);
    for (var lane = 0u; lane < COLUMN_LANES; lane++) {
        total += lane_values[row_lane * COLUMN_LANES + lane];
    }
    for (var i = 0u; i < 4u; i++) {
        let row = row_lane * 4u + i;
        let head_quad = (first_head + row % HEADS) * VALUE_QUADS;
        let output_row = params.output_offset + (block.x + row / HEADS) * params.output_stride + head_quad;
        for (var own = 0u; own < LANE_QUADS; own++) {
            let quad = own * COLUMN_LANES + column_lane;
            if row / HEADS < block.y && quad < VALUE_QUADS {
                output[output_row + quad] = head_sums[own * 4u + i] / total[i];
            }
        }
    }
}

// Attention of few tokens: one workgroup for each token, span of keys and GROUP query heads of one KV head, which
// share each key and value that is read. Leaves unnormalised sums for combine.wgsl.
#import grid
#import reduce
#import kv

#import pages
#import cached
#import tanh
#import score
#import spans
#import fold

// Scores are far from it: half the smallest number, so that differences stay finite.
const LOWEST: f32 = -1.7e38;
// Lanes that share the keys of a tile when values are summed, each lane one quad of the head.
const PARTS: u32 = WORKGROUP / VALUE_QUADS;

var<workgroup> queries: array<vec4<f32>, GROUP * KEY_QUADS>;
var<workgroup> places: array<u32, WORKGROUP>; // of a tile's keys in the cache
var<workgroup> weights: array<f32, GROUP * WORKGROUP>; // [GROUP, keys of a tile]
var<workgroup> part_sums: array<vec4<f32>, WORKGROUP>;

fn run(group: vec3<u32>, groups: vec3<u32>, lane: Lane) {
    let place = spread_index(group, groups);
    let groups_of_heads = params.kv_heads * params.parts;
    let head_group = place % groups_of_heads;
    let kv_head = head_group / params.parts;
    let span = place / groups_of_heads;
    let token = tokens[group.y];
    let spans = spans_of(token.y + 1u);
    let first_key = spans.first + span * spans.length;
    let last_key = min(first_key + spans.length, token.y + 1u);
    if first_key >= last_key {
        return;
    }
    let first_head = params.first_head + head_group * GROUP;
    let input_row = params.input_offset + group.y * params.input_stride + first_head * KEY_QUADS;
    for (var quad = lane.index; quad < GROUP * KEY_QUADS; quad += WORKGROUP) {
        queries[quad] = input[input_row + quad] * params.scale;
    }
    workgroupBarrier();

    let own_quad = lane.index % VALUE_QUADS;
    let own_part = lane.index / VALUE_QUADS;
    var head_sums: array<vec4<f32>, GROUP>;
    var maxima: array<f32, GROUP>;
    // Of the weights of the keys that this lane scored.
    var totals: array<f32, GROUP>;
    for (var head = 0u; head < GROUP; head++) {
        maxima[head] = LOWEST;
    }

    for (var tile = first_key; tile < last_key; tile += WORKGROUP) {
        let keys_of_tile = min(WORKGROUP, last_key - tile);
        let valid = lane.index < keys_of_tile;
        // A lane without a key scores the last one again, in vain.
        let own_place = pages_place(token.z, min(tile + lane.index, last_key - 1u), kv_head, params.kv_heads);
        places[lane.index] = own_place;
        var scores: array<f32, GROUP>;
        for (var first = 0u; first < KEY_QUADS; first += KEYS_AHEAD) {
            var key: array<vec4<f32>, KEYS_AHEAD>;
            for (var ahead = 0u; ahead < KEYS_AHEAD; ahead++) {
                key[ahead] = cached_key(own_place * KEY_WORDS, first + ahead);
            }
            for (var ahead = 0u; ahead < KEYS_AHEAD; ahead++) {
                for (var head = 0u; head < GROUP; head++) {
                    scores[head] += dot(queries[head * KEY_QUADS + first + ahead], key[ahead]);
                }
            }
        }
        var largest: array<f32, GROUP>;
        for (var head = 0u; head < GROUP; head++) {
            scores[head] = select(LOWEST, score_of(scores[head]), valid);
            largest[head] = max(maxima[head], scores[head]);
        }
        fold_max(&largest, lane);
        for (var head = 0u; head < GROUP; head++) {
            let weight = select(0.0, exp(scores[head] - largest[head]), valid);
            let shrink = exp(maxima[head] - largest[head]);
            totals[head] = totals[head] * shrink + weight;
            head_sums[head] *= shrink;
            maxima[head] = largest[head];
            weights[head * WORKGROUP + lane.index] = weight;
        }
        workgroupBarrier();
        if own_part < PARTS {
            for (var first = own_part; first < keys_of_tile; first += PARTS * VALUES_AHEAD) {
                var values: array<vec4<f32>, VALUES_AHEAD>;
                for (var ahead = 0u; ahead < VALUES_AHEAD; ahead++) {
                    let key = min(first + ahead * PARTS, keys_of_tile - 1u);
                    values[ahead] = cached_value(places[key] * VALUE_WORDS, own_quad);
                }
                for (var ahead = 0u; ahead < VALUES_AHEAD; ahead++) {
                    let key = first + ahead * PARTS;
                    for (var head = 0u; head < GROUP; head++) {
                        let weight = weights[head * WORKGROUP + min(key, WORKGROUP - 1u)];
                        head_sums[head] += select(0.0, weight, key < keys_of_tile) * values[ahead];
                    }
                }
            }
        }
        workgroupBarrier();
    }

    fold_sum(&totals, lane);
    for (var head = 0u; head < GROUP; head++) {
        part_sums[lane.index] = head_sums[head];
        workgroupBarrier();
        let result = (group.y * params.heads + first_head + head) * params.spans + span;
        if lane.index < VALUE_QUADS {
            var sum = vec4<f32>(0.0);
            for (var part = 0u; part < PARTS; part++) {
                sum += part_sums[part * VALUE_QUADS + lane.index];
            }
            sums[result * VALUE_QUADS + lane.index] = sum;
        }
        if lane.index == 0u {
            softmax[result] = vec2<f32>(maxima[head], totals[head]);
        }
        workgroupBarrier();
    }
}

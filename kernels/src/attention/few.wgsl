// Attention of few tokens: one workgroup for each token, span of keys and GROUP query heads of one KV head, which
// share each key and value that is read. Leaves unnormalised sums for combine.wgsl.
#import grid
#import reduce
#import kv

#import pages
#import cached
#import tanh
#import score

// Scores are far from it: half the smallest number, so that differences stay finite.
const LOWEST: f32 = -1.7e38;
// Lanes that share the keys of a tile when values are summed, each lane one quad of the head.
const PARTS: u32 = WORKGROUP / VALUE_QUADS;

var<workgroup> queries: array<vec4<f32>, GROUP * KEY_QUADS>;
var<workgroup> weights: array<f32, GROUP * WORKGROUP>; // [GROUP, keys of a tile]
var<workgroup> part_sums: array<vec4<f32>, WORKGROUP>;

fn run(group: vec3<u32>, groups: vec3<u32>, lane: Lane) {
    let place = spread_index(group, groups);
    let groups_of_heads = params.kv_heads * params.parts;
    let head_group = place % groups_of_heads;
    let kv_head = head_group / params.parts;
    let span = place / groups_of_heads;
    let token = tokens[group.y];
    let last_key = min((span + 1u) * params.span, token.y + 1u);
    let first_key = max(span * params.span, token.y + 1u - min(params.window, token.y + 1u));
    if span >= params.spans || first_key >= last_key {
        // combine.wgsl asks only for spans that the token sees.
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
    var totals: array<f32, GROUP>;
    for (var head = 0u; head < GROUP; head++) {
        maxima[head] = LOWEST;
    }

    for (var tile = first_key; tile < last_key; tile += WORKGROUP) {
        let keys_of_tile = min(WORKGROUP, last_key - tile);
        let valid = lane.index < keys_of_tile;
        var scores: array<f32, GROUP>;
        if valid {
            let at = pages_place(token.z, tile + lane.index, kv_head, params.kv_heads) * KEY_WORDS;
            for (var quad = 0u; quad < KEY_QUADS; quad++) {
                let key = cached_key(at, quad);
                for (var head = 0u; head < GROUP; head++) {
                    scores[head] += dot(queries[head * KEY_QUADS + quad], key);
                }
            }
        }
        for (var head = 0u; head < GROUP; head++) {
            let score = score_of(scores[head]);
            let largest = max(maxima[head], workgroup_max(select(LOWEST, score, valid), lane));
            let weight = select(0.0, exp(score - largest), valid);
            let shrink = exp(maxima[head] - largest);
            totals[head] = totals[head] * shrink + workgroup_sum(weight, lane);
            head_sums[head] *= shrink;
            maxima[head] = largest;
            weights[head * WORKGROUP + lane.index] = weight;
        }
        workgroupBarrier();
        if own_part < PARTS {
            for (var key = own_part; key < keys_of_tile; key += PARTS) {
                let at = pages_place(token.z, tile + key, kv_head, params.kv_heads) * VALUE_WORDS;
                let value = cached_value(at, own_quad);
                for (var head = 0u; head < GROUP; head++) {
                    head_sums[head] += weights[head * WORKGROUP + key] * value;
                }
            }
        }
        workgroupBarrier();
    }

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

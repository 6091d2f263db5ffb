// Heads as attention wants them: of queries and keys normalised and rotated, of keys and values in the cache. A workgroup takes one head
// of a token: those of this shard's queries come first, then its keys, then its values.
#import reduce

#import pairing

#import rotation
#import norm
#import kv

#import pages
#import keys
#import values

var<workgroup> head: array<f32, HEAD_WIDTH>;

// The quads of the head that are stored together.
fn quads_of(unit: u32) -> array<vec4<f32>, kv_QUADS> {
    var quads: array<vec4<f32>, kv_QUADS>;
    let first = unit * kv_QUADS;
    for (var quad = 0u; quad < min(kv_QUADS, keys_QUADS - first); quad++) {
        let at = (first + quad) * 4u;
        quads[quad] = vec4<f32>(head[at], head[at + 1u], head[at + 2u], head[at + 3u]);
    }
    return quads;
}

// Normalises and rotates a head of queries or keys.
fn turn(given: u32, place: u32, token: vec4<u32>, lane: Lane) {
    let scale = norm_scale(given, lane);
    for (var pair = lane.index; pair < HEAD_WIDTH / 2u; pair += WORKGROUP) {
        let elements = pairing_elements(pair, params.rotated);
        let x = input[given + elements.x] * scale * norm_gain(place, elements.x);
        let y = input[given + elements.y] * scale * norm_gain(place, elements.y);
        if 2u * pair < params.rotated {
            let rotation = rotation_of(token, pair);
            head[elements.x] = x * rotation.x - y * rotation.y;
            head[elements.y] = x * rotation.y + y * rotation.x;
        } else {
            head[elements.x] = x;
            head[elements.y] = y;
        }
    }
}

fn run(group: vec3<u32>, groups: vec3<u32>, lane: Lane) {
    let row = group.y;
    let token = tokens[row];
    let is_query = group.x < params.heads;
    let is_value = group.x >= params.heads + params.kv_heads;
    // The head among those of its kind in the shard, and among all heads of a row.
    var own = group.x;
    var place = params.first_query;
    if is_value {
        own -= params.heads + params.kv_heads;
        place = params.first_value;
    } else if !is_query {
        own -= params.heads;
        place = params.first_key;
    }
    place += own;
    let given = params.input_offset + row * params.input_stride + place * HEAD_WIDTH;
    if is_value {
        for (var element = lane.index; element < HEAD_WIDTH; element += WORKGROUP) {
            head[element] = input[given + element];
        }
    } else {
        turn(given, place, token, lane);
    }
    workgroupBarrier();
    if is_value {
        for (var unit = lane.index; unit < values_UNITS; unit += WORKGROUP) {
            values_put(token, own, unit, quads_of(unit));
        }
        return;
    }
    if !is_query {
        for (var unit = lane.index; unit < keys_UNITS; unit += WORKGROUP) {
            keys_put(token, own, unit, quads_of(unit));
        }
    }
    let output_head = params.output_offset + row * params.output_stride + place * HEAD_WIDTH;
    for (var element = lane.index; element < HEAD_WIDTH; element += WORKGROUP) {
        output[output_head + element] = head[element];
    }
}

// Puts the heads of latent attention together: what meets the latent, then what is rotated. One invocation for each two elements.
#import pairing

#import rotation

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let token = id.y;
    let width = params.rank + params.rotated;
    let head = 2u * id.x / width;
    let column = 2u * id.x % width;
    if head > params.query_heads {
        return;
    }
    let is_key = head == params.query_heads;
    let output_head = params.output_offset + token * params.output_stride + head * width;
    if column < params.rank {
        let query = params.queries_offset + token * params.queries_stride + head * params.rank + column;
        let key = params.latent_offset + token * params.latent_stride + column;
        for (var element = 0u; element < 2u; element++) {
            if is_key {
                output[output_head + column + element] = latent[key + element];
            } else {
                output[output_head + column + element] = queries[query + element];
            }
        }
        return;
    }
    let pair = (column - params.rank) / 2u;
    let elements = pairing_elements(pair, params.rotated);
    var x: vec2<f32>;
    if is_key {
        let key = params.rotary_key_offset + token * params.rotary_key_stride;
        x = vec2<f32>(rotary_key[key + elements.x], rotary_key[key + elements.y]);
    } else {
        let query = params.turning_queries_offset + token * params.turning_queries_stride + head * params.head_stride;
        x = vec2<f32>(turning_queries[query + elements.x], turning_queries[query + elements.y]);
    }
    let rotation = rotation_of(tokens[token], pair);
    output[output_head + params.rank + elements.x] = x.x * rotation.x - x.y * rotation.y;
    output[output_head + params.rank + elements.y] = x.x * rotation.y + x.y * rotation.x;
}

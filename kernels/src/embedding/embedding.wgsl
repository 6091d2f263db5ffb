// output[token] = weight[id of token], for the ids whose rows this shard has. One invocation decodes a quarter of a block of 32.
#import quarter

#import weight

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let block32 = id.x >> 2u;
    let token = id.y;
    let row = tokens[token].x - params.first_row; // wraps to a large number below the first row
    if block32 >= params.blocks32 || row >= params.rows {
        return;
    }
    let weight = weight_decode(row * params.row_stride, params.blocks32, block32, id.x & 3u);
    let quads = weight_quads(id.x & 3u) + vec2<u32>(params.output_offset + token * params.output_stride + block32 * 8u);
    output[quads.x] = params.scale * codes_elements(weight.first, weight.scales.x, weight.offsets.x, weight.minima.x);
    output[quads.y] = params.scale * codes_elements(weight.second, weight.scales.y, weight.offsets.y, weight.minima.y);
}

// output[token] = weight[id of token], for the ids whose rows this shard has. One invocation decodes one block of 32.
#import block32

#import weight

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let block32 = id.x;
    let token = id.y;
    let row = tokens[token].x - params.first_row; // wraps to a large number below the first row
    if block32 >= params.blocks32 || row >= params.rows {
        return;
    }
    let decoded = weight_decode(row * params.row_stride, params.blocks32, block32);
    let scale = params.scale * decoded.scale;
    let at = params.output_offset + token * params.output_stride + block32 * 8u;
    output[at] = scale * decoded.low[0];
    output[at + 1u] = scale * decoded.low[1];
    output[at + 2u] = scale * decoded.low[2];
    output[at + 3u] = scale * decoded.low[3];
    output[at + 4u] = scale * decoded.high[0];
    output[at + 5u] = scale * decoded.high[1];
    output[at + 6u] = scale * decoded.high[2];
    output[at + 7u] = scale * decoded.high[3];
}

// Turns pairs of elements of each head by angles of the token's position. One invocation for each pair.
#import pairing

#import rotation

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let token = id.y;
    if id.x >= params.pairs {
        return;
    }
    let pairs_of_head = params.head_width / 2u;
    let head = id.x / pairs_of_head;
    let pair = id.x % pairs_of_head;
    let elements = pairing_elements(pair, params.rotated) + vec2<u32>(head * params.head_width);
    let input_row = params.input_offset + token * params.input_stride;
    let output_row = params.output_offset + token * params.output_stride;
    let x = input[input_row + elements.x];
    let y = input[input_row + elements.y];
    if 2u * pair >= params.rotated {
        output[output_row + elements.x] = x;
        output[output_row + elements.y] = y;
        return;
    }
    let rotation = rotation_of(tokens[token], pair);
    output[output_row + elements.x] = x * rotation.x - y * rotation.y;
    output[output_row + elements.y] = x * rotation.y + y * rotation.x;
}

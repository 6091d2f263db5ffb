// Keys, or values, in memory of their own: writes the quads of a token's unit.
fn $write(row: u32, token: vec4<u32>, unit: u32) {
    let head = unit / $UNITS;
    if head >= params.kv_heads {
        return;
    }
    let first = unit % $UNITS * kv_QUADS;
    let given = params.$offset + row * params.$stride + (head * $QUADS + first) * 4u;
    var quads: array<vec4<f32>, kv_QUADS>;
    for (var quad = 0u; quad < min(kv_QUADS, $QUADS - first); quad++) {
        let at = given + quad * 4u;
        quads[quad] = vec4<f32>($given[at], $given[at + 1u], $given[at + 2u], $given[at + 3u]);
    }
    $put(token, head, unit % $UNITS, quads);
}

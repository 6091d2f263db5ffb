// The cosine and the sine by which a pair of a token is rotated, composed of a fine and a coarse rotation.
fn $row(row: u32, long: u32, pair: u32) -> vec2<f32> {
    let at = row * params.table_stride + long * params.long_offset + 2u * pair;
    return vec2<f32>(table[at], table[at + 1u]);
}

fn $of(token: vec4<u32>, pair: u32) -> vec2<f32> {
    let fine = $row(token.y % FINE_POSITIONS, token.w, pair);
    let coarse = $row(FINE_POSITIONS + token.y / FINE_POSITIONS, token.w, pair);
    return vec2<f32>(coarse.x * fine.x - coarse.y * fine.y, coarse.y * fine.x + coarse.x * fine.y);
}

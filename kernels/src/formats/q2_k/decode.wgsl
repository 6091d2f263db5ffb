// Q2_K: a row is 2 words of pairs of bits per block of 32, then a byte per 16 elements (low nibble the scale's factor, high nibble
// the minimum's), then a scale and a minimum in half precision per 8 blocks of 32.
fn $decode(row: u32, blocks32: u32, block32: u32) -> Block32 {
    let factors = row + blocks32 / 2u;
    let bytes = $word(factors, block32 >> 1u) >> ((block32 & 1u) * 16u);
    let affine = unpack2x16float($word(factors + blocks32 / 8u, block32 >> 3u)) * vec2<f32>(1.0, -1.0);
    let low = affine * vec2<f32>(vec2<u32>(bytes, bytes >> 4u) & vec2<u32>(15u));
    let high = affine * vec2<f32>(vec2<u32>(bytes >> 8u, bytes >> 12u) & vec2<u32>(15u));
    return Block32(
        1.0,
        $elements($pairs($word(row, block32 * 2u)), low.x, low.y),
        $elements($pairs($word(row, block32 * 2u + 1u)), high.x, high.y),
    );
}


// Q2_K: a row is 2 words of pairs of bits per block of 32, then a byte per 16 elements (low nibble the scale's factor, high nibble
// the minimum's), then a scale and a minimum in half precision per 8 blocks of 32.
fn $decode(row: u32, blocks32: u32, block32: u32, quarter: u32) -> Quarter {
    let factors = row + blocks32 / 2u;
    let bytes = $word(factors, block32 >> 1u) >> ((block32 & 1u) * 16u);
    let affine = unpack2x16float($word(factors + blocks32 / 8u, block32 >> 3u));
    return Quarter(
        affine.x * vec2<f32>(vec2<u32>(bytes, bytes >> 8u) & vec2<u32>(15u)),
        vec2<f32>(0.0),
        -affine.y * vec2<f32>(vec2<u32>(bytes >> 4u, bytes >> 12u) & vec2<u32>(15u)),
        $numbers($pairs($word(row, block32 * 2u), quarter)),
        $numbers($pairs($word(row, block32 * 2u + 1u), quarter)),
    );
}


// IQ3_XXS: a row is 8 bytes of indices into the grid per block of 32, then a word of 28 bits of signs and 4 of scale per block of 32,
// then one half-precision scale per 8 blocks of 32.
fn $decode(row: u32, blocks32: u32, block32: u32, quarter: u32) -> Quarter {
    let codes = row + 32u; // after the grid
    let indices = $word(codes, block32 * 2u + (quarter >> 1u)) >> ((quarter & 1u) * 16u);
    let signs = $word(codes + blocks32 / 2u, block32);
    let scale = $half(codes + blocks32 / 2u + blocks32 / 4u, block32 >> 3u) * (0.25 + 0.5 * f32(signs >> 28u));
    return $elements(scale, vec2<u32>(indices, indices >> 8u) & vec2<u32>(255u), $even(signs >> (quarter * 7u)));
}

// 4, 12 and so on to 52, and then 62.
fn $value(codes: vec4<u32>) -> vec4<u32> {
    return vec4<u32>(4u) + vec4<u32>(8u) * codes + select(vec4<u32>(0u), vec4<u32>(2u), codes == vec4<u32>(7u));
}


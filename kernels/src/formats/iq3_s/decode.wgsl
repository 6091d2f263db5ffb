// IQ3_S: a row is 8 low bytes of indices into the grid per block of 32, then a bit of sign per element, then 3 words per 8 blocks of 32:
// a byte of 8 high bits of indices per block of 32 and then a nibble of scale per block of 32; then one half-precision scale per 8 blocks of 32.
fn $decode(row: u32, blocks32: u32, block32: u32, quarter: u32) -> Quarter {
    let codes = row + 64u; // after the grid
    let low = $word(codes, block32 * 2u + (quarter >> 1u)) >> ((quarter & 1u) * 16u);
    let signs = $word(codes + blocks32 / 2u, block32) >> (quarter * 8u);
    let heads = codes + blocks32 / 2u + blocks32 / 4u;
    let head = (block32 >> 3u) * 3u;
    let high = $word(heads, head + ((block32 >> 2u) & 1u)) >> ((block32 & 3u) * 8u + quarter * 2u);
    let nibble = ($word(heads, head + 2u) >> ((block32 & 7u) * 4u)) & 15u;
    // Rows of heads are padded to vec4: 3 words for every 8 blocks of 32.
    let scale = $half(heads + (blocks32 / 8u * 3u + 3u) / 4u, block32 >> 3u) * f32(2u * nibble + 1u);
    let indices = (vec2<u32>(low, low >> 8u) & vec2<u32>(255u)) | ((vec2<u32>(high << 8u, high << 7u)) & vec2<u32>(256u));
    return $elements(scale, indices, signs);
}

// Odd numbers.
fn $value(codes: vec4<u32>) -> vec4<u32> {
    return vec4<u32>(2u) * codes + vec4<u32>(1u);
}


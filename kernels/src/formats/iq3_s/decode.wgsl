// IQ3_S: a row is 8 low bytes of indices into the grid per block of 32, then a bit of sign per element, then 3 words per 8 blocks of 32:
// a byte of 8 high bits of indices per block of 32 and then a nibble of scale per block of 32; then one half-precision scale per 8 blocks of 32.
fn $decode(row: u32, blocks32: u32, block32: u32) -> Block32 {
    let codes = row + 64u; // after the grid
    let signs = $word(codes + blocks32 / 2u, block32);
    let heads = codes + blocks32 / 2u + blocks32 / 4u;
    let head = (block32 >> 3u) * 3u;
    let high = $word(heads, head + ((block32 >> 2u) & 1u)) >> ((block32 & 3u) * 8u);
    let scale = ($word(heads, head + 2u) >> ((block32 & 7u) * 4u)) & 15u;
    return Block32(
        // Rows of heads are padded to vec4: 3 words for every 8 blocks of 32.
        $half(heads + (blocks32 / 8u * 3u + 3u) / 4u, block32 >> 3u) * f32(2u * scale + 1u),
        $elements($bytes($word(codes, block32 * 2u)) | $high(high), signs),
        $elements($bytes($word(codes, block32 * 2u + 1u)) | $high(high >> 4u), signs >> 16u),
    );
}

fn $high(bits: u32) -> vec4<u32> {
    return (vec4<u32>(bits) << vec4<u32>(8u, 7u, 6u, 5u)) & vec4<u32>(256u);
}

// Odd numbers.
fn $value(codes: vec4<u32>) -> vec4<u32> {
    return vec4<u32>(2u) * codes + vec4<u32>(1u);
}


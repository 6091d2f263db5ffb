// IQ2_S: a row is 2 words per block of 32, the low bytes of 4 indices into the grid and then a bit of sign per element; then one
// vec4 per 8 blocks of 32, a byte of 4 high pairs of bits per block of 32 and then two nibbles of scale per block of 32; then one half-precision
// scale per 8 blocks of 32.
fn $decode(row: u32, blocks32: u32, block32: u32, quarter: u32) -> Quarter {
    let codes = row + 128u; // after the grid
    let low = ($word(codes, block32 * 2u) >> (quarter * 8u)) & 255u;
    let signs = $word(codes, block32 * 2u + 1u) >> (quarter * 8u);
    let heads = codes + blocks32 / 2u;
    let head = (block32 >> 3u) * 4u + ((block32 >> 2u) & 1u);
    let high = ($word(heads, head) >> ((block32 & 3u) * 8u + quarter * 2u)) & 3u;
    let nibble = ($word(heads, head + 2u) >> ((block32 & 3u) * 8u + (quarter & 2u) * 2u)) & 15u;
    let scale = 0.125 * $half(heads + blocks32 / 8u, block32 >> 3u) * f32(2u * nibble + 1u);
    return $elements(scale, low | (high << 8u), signs);
}


// IQ2_S: a row is 2 words per block of 32, the low bytes of 4 indices into the grid and then a bit of sign per element; then one
// vec4 per 8 blocks of 32, a byte of 4 high pairs of bits per block of 32 and then two nibbles of scale per block of 32; then one half-precision
// scale per 8 blocks of 32.
fn $decode(row: u32, blocks32: u32, block32: u32) -> Block32 {
    let codes = row + 128u; // after the grid
    let low = $word(codes, block32 * 2u);
    let signs = $word(codes, block32 * 2u + 1u);
    let head = $words[codes + blocks32 / 2u + (block32 >> 3u)];
    let word = (block32 >> 2u) & 1u;
    let shift = (block32 & 3u) * 8u;
    let high = head[word] >> shift;
    let nibbles = head[word + 2u] >> shift;
    return Block32(
        0.125 * $half(codes + blocks32 / 2u + blocks32 / 8u, block32 >> 3u),
        $elements(
            (low & 255u) | ((high & 3u) << 8u),
            ((low >> 8u) & 255u) | ((high & 12u) << 6u),
            signs,
            f32(2u * (nibbles & 15u) + 1u),
        ),
        $elements(
            ((low >> 16u) & 255u) | ((high & 48u) << 4u),
            (low >> 24u) | ((high & 192u) << 2u),
            signs >> 16u,
            f32(2u * ((nibbles >> 4u) & 15u) + 1u),
        ),
    );
}


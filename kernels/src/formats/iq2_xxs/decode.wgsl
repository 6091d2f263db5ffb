// IQ2_XXS: a row is 2 words per block of 32, 4 indices into the grid and then 28 bits of signs and 4 of scale; then one
// half-precision scale per 8 blocks of 32.
fn $decode(row: u32, blocks32: u32, block32: u32) -> Block32 {
    let codes = row + 32u; // after the grid
    let indices = $word(codes, block32 * 2u);
    let signs = $word(codes, block32 * 2u + 1u);
    return Block32(
        $half(codes + blocks32 / 2u, block32 >> 3u) * (0.125 + 0.25 * f32(signs >> 28u)),
        $elements(indices & 255u, (indices >> 8u) & 255u, $even_pair(signs), 1.0),
        $elements((indices >> 16u) & 255u, indices >> 24u, $even_pair(signs >> 14u), 1.0),
    );
}


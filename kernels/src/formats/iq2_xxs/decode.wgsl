// IQ2_XXS: a row is 2 words per block of 32, 4 indices into the grid and then 28 bits of signs and 4 of scale; then one
// half-precision scale per 8 blocks of 32.
fn $decode(row: u32, blocks32: u32, block32: u32, quarter: u32) -> Quarter {
    let codes = row + 32u; // after the grid
    let index = ($word(codes, block32 * 2u) >> (quarter * 8u)) & 255u;
    let signs = $word(codes, block32 * 2u + 1u);
    let scale = $half(codes + blocks32 / 2u, block32 >> 3u) * (0.125 + 0.25 * f32(signs >> 28u));
    return $elements(scale, index, $even(signs >> (quarter * 7u)));
}


// IQ2_XS: a row is 4 times 9 bits of index into the grid and 7 of signs per block of 32, then two nibbles of scale per block of 32, then
// one half-precision scale per 8 blocks of 32.
fn $decode(row: u32, blocks32: u32, block32: u32) -> Block32 {
    let codes = row + 64u; // after the grid
    let scales = codes + blocks32 / 2u;
    let nibbles = $word(scales, block32 >> 2u) >> ((block32 & 3u) * 8u);
    return Block32(
        0.125 * $half(scales + (blocks32 + 15u) / 16u, block32 >> 3u),
        $group($word(codes, block32 * 2u), nibbles & 15u),
        $group($word(codes, block32 * 2u + 1u), (nibbles >> 4u) & 15u),
    );
}

fn $group(codes: u32, scale: u32) -> mat4x4<f32> {
    let signs = $even(codes >> 9u) | ($even(codes >> 25u) << 8u);
    return $elements(codes & 511u, (codes >> 16u) & 511u, signs, f32(2u * scale + 1u));
}


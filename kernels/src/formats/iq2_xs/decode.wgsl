// IQ2_XS: a row is 4 times 9 bits of index into the grid and 7 of signs per block of 32, then two nibbles of scale per block of 32, then
// one half-precision scale per 8 blocks of 32.
fn $decode(row: u32, blocks32: u32, block32: u32, quarter: u32) -> Quarter {
    let codes = row + 64u; // after the grid
    let scales = codes + blocks32 / 2u;
    let nibble = ($word(scales, block32 >> 2u) >> ((block32 & 3u) * 8u + (quarter & 2u) * 2u)) & 15u;
    let code = $word(codes, block32 * 2u + (quarter >> 1u)) >> ((quarter & 1u) * 16u);
    let scale = 0.125 * $half(scales + (blocks32 + 15u) / 16u, block32 >> 3u) * f32(2u * nibble + 1u);
    return $elements(scale, code & 511u, $even(code >> 9u));
}


// IQ1_S: a row is 4 low bytes of indices into the grid per block of 32, then 16 bits per block32: 4 times 3 high bits of indices, 3
// bits of scale, and which way elements are shifted; then one half-precision scale per 8 blocks of 32.
fn $decode(row: u32, blocks32: u32, block32: u32, quarter: u32) -> Quarter {
    let codes = row + 256u; // after the grid
    let low = ($word(codes, block32) >> (quarter * 8u)) & 255u;
    let head = $word(codes + blocks32 / 4u, block32 >> 1u) >> ((block32 & 1u) * 16u);
    let high = (head >> (quarter * 3u)) & 7u;
    let scale = $half(codes + blocks32 / 4u + blocks32 / 8u, block32 >> 3u) * f32(2u * ((head >> 12u) & 7u) + 1u);
    return $elements(scale, low | (high << 8u), select(0.125, -0.125, (head & 0x8000u) != 0u));
}


// IQ1_S: a row is 4 low bytes of indices into the grid per block of 32, then 16 bits per block32: 4 times 3 high bits of indices, 3
// bits of scale, and which way elements are shifted; then one half-precision scale per 8 blocks of 32.
fn $decode(row: u32, blocks32: u32, block32: u32) -> Block32 {
    let codes = row + 256u; // after the grid
    let low = $word(codes, block32);
    let high = $word(codes + blocks32 / 4u, block32 >> 1u) >> ((block32 & 1u) * 16u);
    let shift = vec2<f32>(select(0.125, -0.125, ((high >> 15u) & 1u) == 1u));
    return Block32(
        $half(codes + blocks32 / 4u + blocks32 / 8u, block32 >> 3u) * f32(2u * ((high >> 12u) & 7u) + 1u),
        $elements((low & 255u) | ((high & 7u) << 8u), ((low >> 8u) & 255u) | ((high & 56u) << 5u), shift, 1.0),
        $elements(((low >> 16u) & 255u) | ((high & 448u) << 2u), (low >> 24u) | ((high & 3584u) >> 1u), shift, 1.0),
    );
}


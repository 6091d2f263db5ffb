// IQ1_M: a row is 4 low bytes of indices into the grid per block of 32, then 4 nibbles per block of 32, 3 high bits of an index and which
// way its elements are shifted; then 2 words per 8 blocks of 32, 4 times 12 bits for scales of 16 elements and 4 of their scale.
fn $decode(row: u32, blocks32: u32, block32: u32, quarter: u32) -> Quarter {
    let codes = row + 256u; // after the grid
    let low = ($word(codes, block32) >> (quarter * 8u)) & 255u;
    let high = $word(codes + blocks32 / 4u, block32 >> 1u) >> ((block32 & 1u) * 16u + quarter * 4u);
    let heads = codes + blocks32 / 4u + blocks32 / 8u;
    let head = vec2<u32>($word(heads, (block32 >> 3u) * 2u), $word(heads, (block32 >> 3u) * 2u + 1u));
    let nibbles = ((head >> vec2<u32>(12u)) & vec2<u32>(15u)) | ((head >> vec2<u32>(28u)) << vec2<u32>(4u));
    let factors = select(head.x, head.y, (block32 & 4u) == 4u) >> ((block32 & 2u) * 8u + (block32 & 1u) * 6u + (quarter >> 1u) * 3u);
    let scale = unpack2x16float(nibbles.x | (nibbles.y << 8u)).x * f32(2u * (factors & 7u) + 1u);
    return $elements(scale, low | ((high & 7u) << 8u), select(0.125, -0.125, (high & 8u) != 0u));
}


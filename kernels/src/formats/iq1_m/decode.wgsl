// IQ1_M: a row is 4 low bytes of indices into the grid per block of 32, then 4 nibbles per block of 32, 3 high bits of an index and which
// way its elements are shifted; then 2 words per 8 blocks of 32, 4 times 12 bits for scales of 16 elements and 4 of their scale.
fn $decode(row: u32, blocks32: u32, block32: u32) -> Block32 {
    let codes = row + 256u; // after the grid
    let low = $word(codes, block32);
    let high = $word(codes + blocks32 / 4u, block32 >> 1u) >> ((block32 & 1u) * 16u);
    let heads = codes + blocks32 / 4u + blocks32 / 8u;
    let head = vec2<u32>($word(heads, (block32 >> 3u) * 2u), $word(heads, (block32 >> 3u) * 2u + 1u));
    let nibbles = ((head >> vec2<u32>(12u)) & vec2<u32>(15u)) | ((head >> vec2<u32>(28u)) << vec2<u32>(4u));
    let scales = head[(block32 >> 2u) & 1u] >> ((block32 & 2u) * 8u + (block32 & 1u) * 6u);
    let shifts = select(vec4<f32>(0.125), vec4<f32>(-0.125), (vec4<u32>(high) & vec4<u32>(8u, 128u, 2048u, 32768u)) != vec4<u32>(0u));
    return Block32(
        unpack2x16float(nibbles.x | (nibbles.y << 8u)).x,
        $elements(
            (low & 255u) | ((high & 7u) << 8u),
            ((low >> 8u) & 255u) | ((high & 112u) << 4u),
            shifts.xy,
            f32(2u * (scales & 7u) + 1u),
        ),
        $elements(
            ((low >> 16u) & 255u) | (high & 1792u),
            (low >> 24u) | ((high & 28672u) >> 4u),
            shifts.zw,
            f32(2u * ((scales >> 3u) & 7u) + 1u),
        ),
    );
}


// Q3_K: a row is 2 words of low pairs of bits per block of 32, then one word of high bits per block of 32, then one vec4 of scales per
// 8 blocks of 32: low nibbles and high pairs of 16 scales, packed as ggml packs them, and a half-precision number.
fn $decode(row: u32, blocks32: u32, block32: u32) -> Block32 {
    let bits = $word(row + blocks32 / 2u, block32);
    let head = $words[row + blocks32 / 2u + blocks32 / 4u + (block32 >> 3u)];
    // A block of 32's two scales are neighbours: bytes 0 and 1 after the shifts.
    let group = (block32 & 7u) * 2u;
    let nibbles = head[(group >> 2u) & 1u] >> ((group & 3u) * 8u + (group >> 3u) * 4u);
    let pairs = head.z >> ((group & 3u) * 8u + (group >> 2u) * 2u);
    let scales = vec2<f32>(
        f32((nibbles & 15u) | ((pairs & 3u) << 4u)),
        f32(((nibbles >> 8u) & 15u) | (((pairs >> 8u) & 3u) << 4u)),
    ) - vec2<f32>(32.0);
    let low = $pairs($word(row, block32 * 2u)) | ($bits(bits) << vec4<u32>(2u));
    let high = $pairs($word(row, block32 * 2u + 1u)) | ($bits(bits >> 4u) << vec4<u32>(2u));
    return Block32(
        unpack2x16float(head.w).x,
        $elements(low, scales.x, -4.0 * scales.x),
        $elements(high, scales.y, -4.0 * scales.y),
    );
}


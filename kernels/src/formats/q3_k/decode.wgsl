// Q3_K: a row is 2 words of low pairs of bits per block of 32, then one word of high bits per block of 32, then one vec4 of scales per
// 8 blocks of 32: low nibbles and high pairs of 16 scales, packed as ggml packs them, and a half-precision number.
fn $decode(row: u32, blocks32: u32, block32: u32, quarter: u32) -> Quarter {
    let bits = $word(row + blocks32 / 2u, block32);
    let head = $words[row + blocks32 / 2u + blocks32 / 4u + (block32 >> 3u)];
    // A block of 32's two scales are neighbours: bytes 0 and 1 after the shifts.
    let group = (block32 & 7u) * 2u;
    let nibbles = select(head.x, head.y, (group & 4u) == 4u) >> ((group & 3u) * 8u + (group >> 3u) * 4u);
    let pairs = head.z >> ((group & 3u) * 8u + (group >> 2u) * 2u);
    let low = vec2<u32>(nibbles, nibbles >> 8u) & vec2<u32>(15u);
    let factors = low | ((vec2<u32>(pairs, pairs >> 8u) & vec2<u32>(3u)) << vec2<u32>(4u));
    return Quarter(
        unpack2x16float(head.w).x * (vec2<f32>(factors) - vec2<f32>(32.0)),
        vec2<f32>(-4.0),
        vec2<f32>(0.0),
        $numbers($pairs($word(row, block32 * 2u), quarter) | ($bits(bits, quarter) << 2u)),
        $numbers($pairs($word(row, block32 * 2u + 1u), quarter) | ($bits(bits, quarter + 4u) << 2u)),
    );
}


// Q6_K: a row is one vec4 of low nibbles per block of 32, then 2 words of high pairs of bits per block of 32, then a signed byte of scale
// per 16 elements, then one half-precision scale per 8 blocks of 32.
fn $decode(row: u32, blocks32: u32, block32: u32) -> Block32 {
    let nibbles = $words[row + block32];
    let pairs = row + blocks32;
    let scales = pairs + blocks32 / 2u;
    let bytes = $word(scales, block32 >> 1u) >> ((block32 & 1u) * 16u);
    let low_scale = f32(bitcast<i32>(bytes << 24u) >> 24u);
    let high_scale = f32(bitcast<i32>(bytes << 16u) >> 24u);
    let low = $nibbles(nibbles) | ($pairs($word(pairs, block32 * 2u)) << vec4<u32>(4u));
    let high = $nibbles(nibbles >> vec4<u32>(4u)) | ($pairs($word(pairs, block32 * 2u + 1u)) << vec4<u32>(4u));
    return Block32(
        $half(scales + blocks32 / 8u, block32 >> 3u),
        $elements(low, low_scale, -32.0 * low_scale),
        $elements(high, high_scale, -32.0 * high_scale),
    );
}


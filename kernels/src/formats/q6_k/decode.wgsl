// Q6_K: a row is one vec4 of low nibbles per block of 32, then 2 words of high pairs of bits per block of 32, then a signed byte of scale
// per 16 elements, then one half-precision scale per 8 blocks of 32.
fn $decode(row: u32, blocks32: u32, block32: u32, quarter: u32) -> Quarter {
    let nibbles = $words[row + block32][quarter];
    let pairs = row + blocks32;
    let factors = pairs + blocks32 / 2u;
    let bytes = $word(factors, block32 >> 1u) >> ((block32 & 1u) * 16u);
    let factor = vec2<f32>(bitcast<vec2<i32>>(vec2<u32>(bytes << 24u, bytes << 16u)) >> vec2<u32>(24u));
    return Quarter(
        $half(factors + blocks32 / 8u, block32 >> 3u) * factor,
        vec2<f32>(-32.0),
        vec2<f32>(0.0),
        $numbers($low(nibbles) | ($pairs($word(pairs, block32 * 2u), quarter) << 4u)),
        $numbers($high(nibbles) | ($pairs($word(pairs, block32 * 2u + 1u), quarter) << 4u)),
    );
}


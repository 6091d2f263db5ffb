// Q6_K: a row is one vec4 of low nibbles per unit, then 2 words of high pairs of bits per unit, then a signed byte of scale
// per 16 elements, then one half-precision scale per 8 units.
fn $decode(row: u32, units: u32, unit: u32) -> Unit {
    let nibbles = $words[row + unit];
    let pairs = row + units;
    let scales = pairs + units / 2u;
    let bytes = $word(scales, unit >> 1u) >> ((unit & 1u) * 16u);
    let low_scale = f32(bitcast<i32>(bytes << 24u) >> 24u);
    let high_scale = f32(bitcast<i32>(bytes << 16u) >> 24u);
    let low = $nibbles(nibbles) | ($pairs($word(pairs, unit * 2u)) << vec4<u32>(4u));
    let high = $nibbles(nibbles >> vec4<u32>(4u)) | ($pairs($word(pairs, unit * 2u + 1u)) << vec4<u32>(4u));
    return Unit(
        $half(scales + units / 8u, unit >> 3u),
        $elements(low, low_scale, -32.0 * low_scale),
        $elements(high, high_scale, -32.0 * high_scale),
    );
}


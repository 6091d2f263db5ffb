// Q2_K: a row is 2 words of pairs of bits per unit, then a byte per 16 elements (low nibble the scale's factor, high nibble
// the minimum's), then a scale and a minimum in half precision per 8 units.
fn $decode(row: u32, units: u32, unit: u32) -> Unit {
    let factors = row + units / 2u;
    let bytes = $word(factors, unit >> 1u) >> ((unit & 1u) * 16u);
    let affine = unpack2x16float($word(factors + units / 8u, unit >> 3u)) * vec2<f32>(1.0, -1.0);
    let low = affine * vec2<f32>(vec2<u32>(bytes, bytes >> 4u) & vec2<u32>(15u));
    let high = affine * vec2<f32>(vec2<u32>(bytes >> 8u, bytes >> 12u) & vec2<u32>(15u));
    return Unit(
        1.0,
        $elements($pairs($word(row, unit * 2u)), low.x, low.y),
        $elements($pairs($word(row, unit * 2u + 1u)), high.x, high.y),
    );
}


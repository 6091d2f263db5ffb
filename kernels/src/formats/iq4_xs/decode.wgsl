// IQ4_XS: a row is one vec4 of nibbles per unit (low nibbles first 16 elements), then 2 words per 8 units: a half-precision
// scale and the high pairs of bits of 8 factors, then the factors' low nibbles.
fn $decode(row: u32, units: u32, unit: u32) -> Unit {
    let nibbles = $words[row + unit];
    let at = (unit >> 3u) * 2u;
    let first = $word(row + units, at);
    let second = $word(row + units, at + 1u);
    let low = (second >> ((unit & 7u) * 4u)) & 15u;
    let high = (first >> (16u + (unit & 7u) * 2u)) & 3u;
    let scale = unpack2x16float(first).x * (f32(low | (high << 4u)) - 32.0);
    return Unit(scale, $values(nibbles), $values(nibbles >> vec4<u32>(4u)));
}


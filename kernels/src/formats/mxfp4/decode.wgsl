// MXFP4: a row is one vec4 of nibbles per unit (low nibbles first 16 elements), then one byte of exponent per unit.
fn $decode(row: u32, units: u32, unit: u32) -> Unit {
    let nibbles = $words[row + unit];
    let exponent = ($word(row + units, unit >> 2u) >> ((unit & 3u) * 8u)) & 255u;
    // Half of 2 to the exponent minus 127; the two smallest are subnormal.
    let scale = bitcast<f32>(select((exponent - 1u) << 23u, 0x00200000u << (exponent & 1u), exponent < 2u));
    return Unit(scale, $values(nibbles), $values(nibbles >> vec4<u32>(4u)));
}


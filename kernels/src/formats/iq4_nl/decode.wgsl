// IQ4_NL: a row is one vec4 of nibbles per unit (low nibbles first 16 elements), then one half-precision scale per unit.
fn $decode(row: u32, units: u32, unit: u32) -> Unit {
    let nibbles = $words[row + unit];
    return Unit($half(row + units, unit), $values(nibbles), $values(nibbles >> vec4<u32>(4u)));
}


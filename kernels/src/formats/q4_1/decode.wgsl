// Q4_1: a row is one vec4 of nibbles per unit (low nibbles first 16 elements), then a scale and a minimum per unit.
fn $decode(row: u32, units: u32, unit: u32) -> Unit {
    let nibbles = $words[row + unit];
    let affine = unpack2x16float($word(row + units, unit));
    return Unit(
        1.0,
        $elements($nibbles(nibbles), affine.x, affine.y),
        $elements($nibbles(nibbles >> vec4<u32>(4u)), affine.x, affine.y),
    );
}


// Integers of 4 bits: a row is one vec4 of nibbles per unit (low nibbles first 16 elements), then the pairs of the groups.
fn $decode(row: u32, units: u32, unit: u32) -> Unit {
    let nibbles = $words[row + unit];
    let affine = $affine(row + units, unit / $GROUP_UNITS);
    return Unit(
        affine.x,
        $elements($nibbles(nibbles), affine.y, affine.z),
        $elements($nibbles(nibbles >> vec4<u32>(4u)), affine.y, affine.z),
    );
}


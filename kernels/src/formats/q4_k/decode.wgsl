// Q4_K: a row is one vec4 of nibbles per unit (low nibbles first 16 elements), then one vec4 of scales per 8 units.
fn $decode(row: u32, units: u32, unit: u32) -> Unit {
    let nibbles = $words[row + unit];
    let affine = $affine($words[row + units + (unit >> 3u)], unit);
    return Unit(
        1.0,
        $elements($nibbles(nibbles), affine.x, affine.y),
        $elements($nibbles(nibbles >> vec4<u32>(4u)), affine.x, affine.y),
    );
}


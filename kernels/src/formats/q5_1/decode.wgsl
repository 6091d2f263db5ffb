// Q5_1: a row is one vec4 of low nibbles per unit, then one word of high bits per unit, then a scale and a minimum per unit.
fn $decode(row: u32, units: u32, unit: u32) -> Unit {
    let nibbles = $words[row + unit];
    let bits = $word(row + units, unit);
    let affine = unpack2x16float($word(row + units + (units + 3u) / 4u, unit));
    return Unit(
        1.0,
        $elements($nibbles(nibbles) | ($bits(bits) << vec4<u32>(4u)), affine.x, affine.y),
        $elements($nibbles(nibbles >> vec4<u32>(4u)) | ($bits(bits >> 4u) << vec4<u32>(4u)), affine.x, affine.y),
    );
}


// Q5_K: a row is one vec4 of low nibbles per unit, then one word of high bits per unit, then one vec4 of scales per 8 units.
fn $decode(row: u32, units: u32, unit: u32) -> Unit {
    let nibbles = $words[row + unit];
    let bits = $word(row + units, unit);
    let affine = $affine($words[row + units + units / 4u + (unit >> 3u)], unit);
    return Unit(
        1.0,
        $elements($nibbles(nibbles) | ($bits(bits) << vec4<u32>(4u)), affine.x, affine.y),
        $elements($nibbles(nibbles >> vec4<u32>(4u)) | ($bits(bits >> 4u) << vec4<u32>(4u)), affine.x, affine.y),
    );
}


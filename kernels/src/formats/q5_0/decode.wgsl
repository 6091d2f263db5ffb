// Q5_0: a row is one vec4 of low nibbles per unit, then one word of high bits per unit, then one half-precision scale per unit.
fn $decode(row: u32, units: u32, unit: u32) -> Unit {
    let nibbles = $words[row + unit];
    let bits = $word(row + units, unit);
    return Unit(
        $half(row + units + (units + 3u) / 4u, unit),
        $elements($nibbles(nibbles) | ($bits(bits) << vec4<u32>(4u)), 1.0, -16.0),
        $elements($nibbles(nibbles >> vec4<u32>(4u)) | ($bits(bits >> 4u) << vec4<u32>(4u)), 1.0, -16.0),
    );
}


// IQ3_S: a row is 8 low bytes of indices into the grid per unit, then a bit of sign per element, then 3 words per 8 units:
// a byte of 8 high bits of indices per unit and then a nibble of scale per unit; then one half-precision scale per 8 units.
fn $decode(row: u32, units: u32, unit: u32) -> Unit {
    let codes = row + 64u; // behind the grid
    let signs = $word(codes + units / 2u, unit);
    let heads = codes + units / 2u + units / 4u;
    let head = (unit >> 3u) * 3u;
    let high = $word(heads, head + ((unit >> 2u) & 1u)) >> ((unit & 3u) * 8u);
    let scale = ($word(heads, head + 2u) >> ((unit & 7u) * 4u)) & 15u;
    return Unit(
        // Rows of heads are padded to vec4: 3 words for every 8 units.
        $half(heads + (units / 8u * 3u + 3u) / 4u, unit >> 3u) * f32(2u * scale + 1u),
        $elements($bytes($word(codes, unit * 2u)) | $high(high), signs),
        $elements($bytes($word(codes, unit * 2u + 1u)) | $high(high >> 4u), signs >> 16u),
    );
}

fn $high(bits: u32) -> vec4<u32> {
    return (vec4<u32>(bits) << vec4<u32>(8u, 7u, 6u, 5u)) & vec4<u32>(256u);
}

// Odd numbers.
fn $value(codes: vec4<u32>) -> vec4<u32> {
    return vec4<u32>(2u) * codes + vec4<u32>(1u);
}


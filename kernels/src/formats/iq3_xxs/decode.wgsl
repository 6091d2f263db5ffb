// IQ3_XXS: a row is 8 bytes of indices into the grid per unit, then a word of 28 bits of signs and 4 of scale per unit,
// then one half-precision scale per 8 units.
fn $decode(row: u32, units: u32, unit: u32) -> Unit {
    let codes = row + 32u; // behind the grid
    let signs = $word(codes + units / 2u, unit);
    return Unit(
        $half(codes + units / 2u + units / 4u, unit >> 3u) * (0.25 + 0.5 * f32(signs >> 28u)),
        $elements($bytes($word(codes, unit * 2u)), $even_pair(signs)),
        $elements($bytes($word(codes, unit * 2u + 1u)), $even_pair(signs >> 14u)),
    );
}

// 4, 12 and so on to 52, and then 62.
fn $value(codes: vec4<u32>) -> vec4<u32> {
    return vec4<u32>(4u) + vec4<u32>(8u) * codes + select(vec4<u32>(0u), vec4<u32>(2u), codes == vec4<u32>(7u));
}


// IQ2_XS: a row is 4 times 9 bits of index into the grid and 7 of signs per unit, then two nibbles of scale per unit, then
// one half-precision scale per 8 units.
fn $decode(row: u32, units: u32, unit: u32) -> Unit {
    let codes = row + 64u; // behind the grid
    let scales = codes + units / 2u;
    let nibbles = $word(scales, unit >> 2u) >> ((unit & 3u) * 8u);
    return Unit(
        0.125 * $half(scales + (units + 15u) / 16u, unit >> 3u),
        $group($word(codes, unit * 2u), nibbles & 15u),
        $group($word(codes, unit * 2u + 1u), (nibbles >> 4u) & 15u),
    );
}

fn $group(codes: u32, scale: u32) -> mat4x4<f32> {
    let signs = $even(codes >> 9u) | ($even(codes >> 25u) << 8u);
    return $elements(codes & 511u, (codes >> 16u) & 511u, signs, f32(2u * scale + 1u));
}


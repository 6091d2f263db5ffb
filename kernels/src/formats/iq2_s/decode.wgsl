// IQ2_S: a row is 2 words per unit, the low bytes of 4 indices into the grid and then a bit of sign per element; then one
// vec4 per 8 units, a byte of 4 high pairs of bits per unit and then two nibbles of scale per unit; then one half-precision
// scale per 8 units.
fn $decode(row: u32, units: u32, unit: u32) -> Unit {
    let codes = row + 128u; // behind the grid
    let low = $word(codes, unit * 2u);
    let signs = $word(codes, unit * 2u + 1u);
    let head = $words[codes + units / 2u + (unit >> 3u)];
    let word = (unit >> 2u) & 1u;
    let shift = (unit & 3u) * 8u;
    let high = head[word] >> shift;
    let nibbles = head[word + 2u] >> shift;
    return Unit(
        0.125 * $half(codes + units / 2u + units / 8u, unit >> 3u),
        $elements(
            (low & 255u) | ((high & 3u) << 8u),
            ((low >> 8u) & 255u) | ((high & 12u) << 6u),
            signs,
            f32(2u * (nibbles & 15u) + 1u),
        ),
        $elements(
            ((low >> 16u) & 255u) | ((high & 48u) << 4u),
            (low >> 24u) | ((high & 192u) << 2u),
            signs >> 16u,
            f32(2u * ((nibbles >> 4u) & 15u) + 1u),
        ),
    );
}


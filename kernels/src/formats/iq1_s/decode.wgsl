// IQ1_S: a row is 4 low bytes of indices into the grid per unit, then 16 bits per unit: 4 times 3 high bits of indices, 3
// bits of scale, and which way elements are shifted; then one half-precision scale per 8 units.
fn $decode(row: u32, units: u32, unit: u32) -> Unit {
    let codes = row + 256u; // behind the grid
    let low = $word(codes, unit);
    let high = $word(codes + units / 4u, unit >> 1u) >> ((unit & 1u) * 16u);
    let shift = vec2<f32>(select(0.125, -0.125, ((high >> 15u) & 1u) == 1u));
    return Unit(
        $half(codes + units / 4u + units / 8u, unit >> 3u) * f32(2u * ((high >> 12u) & 7u) + 1u),
        $elements((low & 255u) | ((high & 7u) << 8u), ((low >> 8u) & 255u) | ((high & 56u) << 5u), shift, 1.0),
        $elements(((low >> 16u) & 255u) | ((high & 448u) << 2u), (low >> 24u) | ((high & 3584u) >> 1u), shift, 1.0),
    );
}


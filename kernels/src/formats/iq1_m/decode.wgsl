// IQ1_M: a row is 4 low bytes of indices into the grid per unit, then 4 nibbles per unit, 3 high bits of an index and which
// way its elements are shifted; then 2 words per 8 units, 4 times 12 bits for scales of 16 elements and 4 of their scale.
fn $decode(row: u32, units: u32, unit: u32) -> Unit {
    let codes = row + 256u; // behind the grid
    let low = $word(codes, unit);
    let high = $word(codes + units / 4u, unit >> 1u) >> ((unit & 1u) * 16u);
    let heads = codes + units / 4u + units / 8u;
    let head = vec2<u32>($word(heads, (unit >> 3u) * 2u), $word(heads, (unit >> 3u) * 2u + 1u));
    let nibbles = ((head >> vec2<u32>(12u)) & vec2<u32>(15u)) | ((head >> vec2<u32>(28u)) << vec2<u32>(4u));
    let scales = head[(unit >> 2u) & 1u] >> ((unit & 2u) * 8u + (unit & 1u) * 6u);
    let shifts = select(vec4<f32>(0.125), vec4<f32>(-0.125), (vec4<u32>(high) & vec4<u32>(8u, 128u, 2048u, 32768u)) != vec4<u32>(0u));
    return Unit(
        unpack2x16float(nibbles.x | (nibbles.y << 8u)).x,
        $elements(
            (low & 255u) | ((high & 7u) << 8u),
            ((low >> 8u) & 255u) | ((high & 112u) << 4u),
            shifts.xy,
            f32(2u * (scales & 7u) + 1u),
        ),
        $elements(
            ((low >> 16u) & 255u) | (high & 1792u),
            (low >> 24u) | ((high & 28672u) >> 4u),
            shifts.zw,
            f32(2u * ((scales >> 3u) & 7u) + 1u),
        ),
    );
}


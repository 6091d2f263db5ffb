// 4 elements of a grid of pairs of bits, which stand for 8, 25 and 43.
fn $quad(codes: u32, signs: u32) -> vec4<f32> {
    let code = (vec4<u32>(codes) >> vec4<u32>(0u, 2u, 4u, 6u)) & vec4<u32>(3u);
    return $signed(vec4<u32>(8u) + vec4<u32>(17u) * code + (code >> vec4<u32>(1u)), signs);
}

// 16 elements: two entries of the grid with 16 signs, times a factor.
fn $elements(first: u32, second: u32, signs: u32, factor: f32) -> mat4x4<f32> {
    let low = $entry(first);
    let high = $entry(second);
    return mat4x4<f32>(
        factor * $quad(low, signs),
        factor * $quad(low >> 8u, signs >> 4u),
        factor * $quad(high, signs >> 8u),
        factor * $quad(high >> 8u, signs >> 12u),
    );
}

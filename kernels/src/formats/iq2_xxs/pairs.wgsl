// 4 elements of a grid of pairs of bits, which stand for 8, 25 and 43.
fn $quad(codes: u32, signs: u32) -> vec4<f32> {
    let code = (vec4<u32>(codes) >> vec4<u32>(0u, 2u, 4u, 6u)) & vec4<u32>(3u);
    return $signed(vec4<u32>(8u) + vec4<u32>(17u) * code + (code >> vec4<u32>(1u)), signs);
}

// An entry of the grid with 8 signs.
fn $elements(scale: f32, index: u32, signs: u32) -> Quarter {
    let codes = $entry(index);
    return $quarter(scale, $quad(codes, signs), $quad(codes >> 8u, signs >> 4u));
}


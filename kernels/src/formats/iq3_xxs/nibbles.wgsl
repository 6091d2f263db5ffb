// 4 elements: an entry of a grid of nibbles, with signs; `$value` says what nibbles stand for.
fn $quad(index: u32, signs: u32) -> vec4<f32> {
    let codes = (vec4<u32>($entry(index)) >> vec4<u32>(0u, 4u, 8u, 12u)) & vec4<u32>(15u);
    return $signed($value(codes), signs);
}

// 16 elements: four entries of the grid with 16 signs.
fn $elements(indices: vec4<u32>, signs: u32) -> mat4x4<f32> {
    return mat4x4<f32>(
        $quad(indices.x, signs),
        $quad(indices.y, signs >> 4u),
        $quad(indices.z, signs >> 8u),
        $quad(indices.w, signs >> 12u),
    );
}

fn $bytes(word: u32) -> vec4<u32> {
    return (vec4<u32>(word) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(255u);
}

// 4 elements: an entry of a grid of nibbles, with signs; `$value` says what nibbles stand for.
fn $quad(index: u32, signs: u32) -> vec4<f32> {
    let codes = (vec4<u32>($entry(index)) >> vec4<u32>(0u, 4u, 8u, 12u)) & vec4<u32>(15u);
    return $signed($value(codes), signs);
}

// Two entries of the grid with 8 signs.
fn $elements(scale: f32, indices: vec2<u32>, signs: u32) -> Quarter {
    return $quarter(scale, $quad(indices.x, signs), $quad(indices.y, signs >> 4u));
}


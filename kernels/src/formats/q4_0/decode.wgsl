// Q4_0: a row is one vec4 of nibbles per unit (low nibbles first 16 elements), then one half-precision scale per unit.
fn $quad(nibbles: u32) -> vec4<f32> {
    let codes = (vec4<u32>(nibbles) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(15u);
    return vec4<f32>(codes) - vec4<f32>(8.0);
}

fn $half_unit(words: vec4<u32>) -> mat4x4<f32> {
    return mat4x4<f32>($quad(words.x), $quad(words.y), $quad(words.z), $quad(words.w));
}

fn $decode(row: u32, units: u32, unit: u32) -> Unit {
    let words = $words[row + unit];
    let scales = unpack2x16float($words[row + units + (unit >> 3u)][(unit >> 1u) & 3u]);
    let scale = select(scales.x, scales.y, (unit & 1u) == 1u);
    return Unit(scale, $half_unit(words), $half_unit(words >> vec4<u32>(4u)));
}

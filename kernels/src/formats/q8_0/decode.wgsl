// Q8_0: a row is 2 vec4 of signed bytes per unit, then one half-precision scale per unit.
fn $quad(word: u32) -> vec4<f32> {
    let bytes = vec4<u32>(word << 24u, word << 16u, word << 8u, word);
    return vec4<f32>(bitcast<vec4<i32>>(bytes) >> vec4<u32>(24u));
}

fn $half_unit(words: vec4<u32>) -> mat4x4<f32> {
    return mat4x4<f32>($quad(words.x), $quad(words.y), $quad(words.z), $quad(words.w));
}

fn $decode(row: u32, units: u32, unit: u32) -> Unit {
    let at = row + unit * 2u;
    let scales = unpack2x16float($words[row + units * 2u + (unit >> 3u)][(unit >> 1u) & 3u]);
    let scale = select(scales.x, scales.y, (unit & 1u) == 1u);
    return Unit(scale, $half_unit($words[at]), $half_unit($words[at + 1u]));
}

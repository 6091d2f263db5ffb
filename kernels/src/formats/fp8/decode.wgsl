// FP8: a row is 2 vec4 of bytes per unit, then the scales of the blocks in single precision.
fn $numbers(word: u32) -> vec4<f32> {
    let codes = vec4<u32>(word) >> vec4<u32>(0u, 8u, 16u, 24u);
    let magnitudes = codes & vec4<u32>(127u);
    // Exponent and mantissa move to their places; the exponent's bias becomes 127.
    let normal = bitcast<vec4<f32>>((magnitudes << vec4<u32>(20u)) + vec4<u32>(120u << 23u));
    let numbers = select(normal, vec4<f32>(magnitudes) / 512.0, magnitudes < vec4<u32>(8u));
    return select(numbers, -numbers, (codes & vec4<u32>(128u)) != vec4<u32>(0u));
}

fn $half_unit(words: vec4<u32>) -> mat4x4<f32> {
    return mat4x4<f32>($numbers(words.x), $numbers(words.y), $numbers(words.z), $numbers(words.w));
}

fn $decode(row: u32, units: u32, unit: u32) -> Unit {
    let at = row + unit * 2u;
    let scale = bitcast<f32>($word(row + units * 2u, unit / $GROUP_UNITS));
    return Unit(scale, $half_unit($words[at]), $half_unit($words[at + 1u]));
}


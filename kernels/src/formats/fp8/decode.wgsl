// FP8: a row is 2 vec4 of bytes per block of 32, then the scales of the blocks in single precision.
fn $numbers(word: u32) -> vec4<f32> {
    let codes = vec4<u32>(word) >> vec4<u32>(0u, 8u, 16u, 24u);
    let magnitudes = codes & vec4<u32>(127u);
    // Exponent and mantissa move to their places; the exponent's bias becomes 127.
    let normal = bitcast<vec4<f32>>((magnitudes << vec4<u32>(20u)) + vec4<u32>(120u << 23u));
    let numbers = select(normal, vec4<f32>(magnitudes) / 512.0, magnitudes < vec4<u32>(8u));
    return select(numbers, -numbers, (codes & vec4<u32>(128u)) != vec4<u32>(0u));
}

fn $decode(row: u32, blocks32: u32, block32: u32, quarter: u32) -> Quarter {
    let at = row + block32 * 2u;
    let scale = bitcast<f32>($word(row + blocks32 * 2u, block32 / $GROUP_BLOCKS32));
    return $quarter(scale, $numbers($words[at][quarter]), $numbers($words[at + 1u][quarter]));
}


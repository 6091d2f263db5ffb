// A grid lies before the first row: entries of 16 bits, the codes of 8 elements or of 4.
fn $entry(index: u32) -> u32 {
    let word = $words[index >> 3u][(index >> 1u) & 3u];
    return (word >> ((index & 1u) * 16u)) & 0xffffu;
}

// 4 values, negative where a bit is set.
fn $signed(values: vec4<u32>, signs: u32) -> vec4<f32> {
    let negative = (vec4<u32>(signs) & vec4<u32>(1u, 2u, 4u, 8u)) != vec4<u32>(0u);
    return select(vec4<f32>(values), -vec4<f32>(values), negative);
}

// Seven signs, and an eighth that makes their number even.
fn $even(signs: u32) -> u32 {
    let seven = signs & 127u;
    return seven | ((countOneBits(seven) & 1u) << 7u);
}


// Q8_0: a row is 2 vec4 of signed bytes per block of 32, then one half-precision scale per block of 32.
fn $quad(word: u32) -> vec4<f32> {
    let bytes = vec4<u32>(word << 24u, word << 16u, word << 8u, word);
    return vec4<f32>(bitcast<vec4<i32>>(bytes) >> vec4<u32>(24u));
}

fn $half_block32(words: vec4<u32>) -> mat4x4<f32> {
    return mat4x4<f32>($quad(words.x), $quad(words.y), $quad(words.z), $quad(words.w));
}

fn $decode(row: u32, blocks32: u32, block32: u32) -> Block32 {
    let at = row + block32 * 2u;
    let scales = unpack2x16float($words[row + blocks32 * 2u + (block32 >> 3u)][(block32 >> 1u) & 3u]);
    let scale = select(scales.x, scales.y, (block32 & 1u) == 1u);
    return Block32(scale, $half_block32($words[at]), $half_block32($words[at + 1u]));
}

// Q4_0: a row is one vec4 of nibbles per block of 32 (low nibbles first 16 elements), then one half-precision scale per block of 32.
fn $quad(nibbles: u32) -> vec4<f32> {
    let codes = (vec4<u32>(nibbles) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(15u);
    return vec4<f32>(codes) - vec4<f32>(8.0);
}

fn $half_block32(words: vec4<u32>) -> mat4x4<f32> {
    return mat4x4<f32>($quad(words.x), $quad(words.y), $quad(words.z), $quad(words.w));
}

fn $decode(row: u32, blocks32: u32, block32: u32) -> Block32 {
    let words = $words[row + block32];
    let scales = unpack2x16float($words[row + blocks32 + (block32 >> 3u)][(block32 >> 1u) & 3u]);
    let scale = select(scales.x, scales.y, (block32 & 1u) == 1u);
    return Block32(scale, $half_block32(words), $half_block32(words >> vec4<u32>(4u)));
}

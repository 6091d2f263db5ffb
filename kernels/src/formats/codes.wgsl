// Codes of 16 elements, one to a byte of a vec4: out of nibbles, of pairs of bits and of single bits.
fn $nibbles(words: vec4<u32>) -> vec4<u32> {
    return words & vec4<u32>(0x0f0f0f0fu);
}

fn $pairs(word: u32) -> vec4<u32> {
    return (vec4<u32>(word) >> vec4<u32>(0u, 2u, 4u, 6u)) & vec4<u32>(0x03030303u);
}

fn $bits(word: u32) -> vec4<u32> {
    return (vec4<u32>(word) >> vec4<u32>(0u, 1u, 2u, 3u)) & vec4<u32>(0x01010101u);
}

// scale * code + offset, for every code.
fn $quad(word: u32, scale: f32, offset: f32) -> vec4<f32> {
    let codes = (vec4<u32>(word) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(255u);
    return scale * vec4<f32>(codes) + vec4<f32>(offset);
}

fn $elements(codes: vec4<u32>, scale: f32, offset: f32) -> mat4x4<f32> {
    return mat4x4<f32>(
        $quad(codes.x, scale, offset),
        $quad(codes.y, scale, offset),
        $quad(codes.z, scale, offset),
        $quad(codes.w, scale, offset),
    );
}

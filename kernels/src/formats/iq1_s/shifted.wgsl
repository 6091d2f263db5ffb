// An entry of a grid of pairs of bits, which stand for -1, 0 and 1, shifted.
fn $elements(scale: f32, index: u32, shift: f32) -> Quarter {
    let codes = $entry(index);
    return Quarter(vec2<f32>(scale), vec2<f32>(shift - 1.0), vec2<f32>(0.0), $quad(codes), $quad(codes >> 8u));
}

fn $quad(codes: u32) -> vec4<f32> {
    return vec4<f32>((vec4<u32>(codes) >> vec4<u32>(0u, 2u, 4u, 6u)) & vec4<u32>(3u));
}


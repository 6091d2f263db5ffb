// 4 elements of a grid of pairs of bits, which stand for -1, 0 and 1, shifted.
fn $quad(codes: u32, shift: f32) -> vec4<f32> {
    return vec4<f32>((vec4<u32>(codes) >> vec4<u32>(0u, 2u, 4u, 6u)) & vec4<u32>(3u)) + vec4<f32>(shift - 1.0);
}

// 16 elements: two entries of the grid, each shifted, times a factor.
fn $elements(first: u32, second: u32, shifts: vec2<f32>, factor: f32) -> mat4x4<f32> {
    let low = $entry(first);
    let high = $entry(second);
    return mat4x4<f32>(
        factor * $quad(low, shifts.x),
        factor * $quad(low >> 8u, shifts.x),
        factor * $quad(high, shifts.y),
        factor * $quad(high >> 8u, shifts.y),
    );
}

// A quarter of a block of 32: two quads, each `scale * (codes + offset) + minimum`.
struct Quarter {
    scales: vec2<f32>,
    offsets: vec2<f32>,
    minima: vec2<f32>,
    first: vec4<f32>,
    second: vec4<f32>,
}

fn $elements(codes: vec4<f32>, scale: f32, offset: f32, minimum: f32) -> vec4<f32> {
    return scale * (codes + vec4<f32>(offset)) + vec4<f32>(minimum);
}

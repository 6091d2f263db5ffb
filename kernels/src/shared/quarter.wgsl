// A quarter of a block of 32: two quads, each `scale * (codes + offset) + minimum`.
struct Quarter {
    scales: vec2<f32>,
    offsets: vec2<f32>,
    minima: vec2<f32>,
    first: vec4<f32>,
    second: vec4<f32>,
}

// A quarter of a block of 32: two quads, each `scale * (codes + offset) + minimum`.
#import codes

struct Quarter {
    scales: vec2<f32>,
    offsets: vec2<f32>,
    minima: vec2<f32>,
    first: Codes,
    second: Codes,
}

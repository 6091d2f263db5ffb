// Two quads of numbers that are scaled alike.
fn $quarter(scale: f32, first: vec4<f32>, second: vec4<f32>) -> Quarter {
    return Quarter(vec2<f32>(scale), vec2<f32>(0.0), vec2<f32>(0.0), first, second);
}


// Two quads of numbers that are scaled alike.
fn $quarter(scale: f32, first: Codes, second: Codes) -> Quarter {
    return Quarter(vec2<f32>(scale), vec2<f32>(0.0), vec2<f32>(0.0), first, second);
}


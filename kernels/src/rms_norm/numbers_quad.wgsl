// Rows are read four numbers at a time.
fn $square(x: vec4<f32>) -> f32 {
    return dot(x, x);
}

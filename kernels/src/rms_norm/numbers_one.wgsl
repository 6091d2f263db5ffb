// Rows are read number by number.
fn $square(x: f32) -> f32 {
    return x * x;
}

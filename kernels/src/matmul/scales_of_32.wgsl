// A block of 32 has one scale, and one shift.
fn $dots(scales: vec2<f32>, dots: vec2<i32>) -> f32 {
    return scales.x * f32(dots.x + dots.y);
}

fn $shifts(shifts: vec2<f32>, totals: vec2<f32>) -> f32 {
    return shifts.x * (totals.x + totals.y);
}

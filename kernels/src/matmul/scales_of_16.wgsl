// Each half of a block of 32 has a scale and a shift.
fn $dots(scales: vec2<f32>, dots: vec2<i32>) -> f32 {
    return dot(scales, vec2<f32>(dots));
}

fn $shifts(shifts: vec2<f32>, totals: vec2<f32>) -> f32 {
    return dot(shifts, totals);
}

// Rows of input are normalised: each workgroup sums their squares beside its products, and scales these at the end.
const $SUMS: u32 = COLUMNS;

// After a row's end the input counts as 0.
fn $gain(quad: u32) -> vec4<f32> {
    return gain[min(quad, (params.width - 1u) / 4u)];
}

fn $add(column: u32, first: vec4<f32>, second: vec4<f32>, sums: ptr<function, array<f32, SUMS>>) {
    (*sums)[PRODUCTS + column] += dot(first, first) + dot(second, second);
}

fn $scale(column: u32, lane: Lane) -> f32 {
    return 1.0 / sqrt(sums_total(PRODUCTS + column, lane) / f32(params.width) + params.epsilon);
}

// Rows of input are multiplied as they are.
const $SUMS: u32 = 0u;

fn $gain(quad: u32) -> vec4<f32> {
    return vec4<f32>(1.0);
}

fn $add(column: u32, first: vec4<f32>, second: vec4<f32>, sums: ptr<function, array<f32, SUMS>>) {}

fn $scale(column: u32, lane: Lane) -> f32 {
    return 1.0;
}

// Rows of input that end with a block of 32.
fn $quad(row: u32, quad: u32) -> vec4<f32> {
    return input[batch_input(row) + quad];
}

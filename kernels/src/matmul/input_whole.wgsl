// Rows of input that end with a unit.
fn $quad(row: u32, quad: u32) -> vec4<f32> {
    return input[places_input(row) + quad];
}

// Rows of input in single precision.
#import input
#import gain

// Adds the products of a quarter of a block of the rows of the weight with the same of the rows of input.
fn $add(
    weights: ptr<function, array<Quarter, ROWS>>,
    block32: u32,
    quarter: u32,
    first_input: u32,
    sums: ptr<function, array<f32, SUMS>>,
) {
    let quads = weight_quads(quarter) + vec2<u32>(block32 * 8u);
    let first_gain = gain_quad(quads.x);
    let second_gain = gain_quad(quads.y);
    for (var column = 0u; column < COLUMNS; column++) {
        let first_input_quad = input_quad(first_input + column, quads.x);
        let second_input_quad = input_quad(first_input + column, quads.y);
        add_squares(column, dot(first_input_quad, first_input_quad) + dot(second_input_quad, second_input_quad), sums);
        let first = first_input_quad * first_gain;
        let second = second_input_quad * second_gain;
        // What offsets and minima are multiplied with.
        let totals = vec2<f32>(first.x + first.y + first.z + first.w, second.x + second.y + second.z + second.w);
        for (var row = 0u; row < ROWS; row++) {
            let weight = (*weights)[row];
            let dots = vec2<f32>(dot(weight.first, first), dot(weight.second, second)) + weight.offsets * totals;
            (*sums)[column * COLUMN_SUMS + row] += dot(weight.scales, dots) + dot(weight.minima, totals);
        }
    }
}

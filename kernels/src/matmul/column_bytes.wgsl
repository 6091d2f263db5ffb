// Rows of input in signed bytes, as activations.wgsl rounds them.
#import rounded
#import scales

// Adds the products of a quarter of a block of the rows of the weight with the same of the rows of input.
fn $add(
    weights: ptr<function, array<Quarter, ROWS>>,
    block32: u32,
    quarter: u32,
    first_input: u32,
    sums: ptr<function, array<f32, SUMS>>,
) {
    let ones = 0x01010101u;
    let quads = weight_quads(quarter);
    for (var column = 0u; column < COLUMNS; column++) {
        // A block is eight quads of the input as it was.
        let block = batch_input(first_input + column) / 8u + block32;
        let first = activations[rounded_at(block, quads.x / 4u)][quads.x % 4u];
        let second = activations[rounded_at(block, quads.y / 4u)][quads.y % 4u];
        let numbers = bitcast<vec4<f32>>(activations[rounded_at(block, 2u)]);
        // One of a block's quarters brings its squares.
        add_squares(column, select(0.0, numbers.w, quarter == 0u), sums);
        let totals = vec2<i32>(dot4I8Packed(first, ones), dot4I8Packed(second, ones));
        for (var row = 0u; row < ROWS; row++) {
            let weight = (*weights)[row];
            let dots = vec2<i32>(dot4I8Packed(weight.first, first), dot4I8Packed(weight.second, second));
            let shifts = weight.scales * weight.offsets + weight.minima;
            (*sums)[column * COLUMN_SUMS + row] += numbers.x * (scales_dots(weight.scales, dots) + scales_dots(shifts, totals));
        }
    }
}

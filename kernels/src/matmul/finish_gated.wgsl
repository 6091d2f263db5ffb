// The result is the activated gate times up: products with a row of each.
#import activation

const $PARTS: u32 = 2u;

fn $write(row: u32, column: u32, products: array<f32, $PARTS>) {
    if batch_holds(row) {
        let gate = params.scale * bias_add(column, 0u, products[0]);
        let up = params.scale * bias_add(column, 1u, products[1]);
        output[batch_output(row, column)] = activation_gated(gate, up);
    }
}

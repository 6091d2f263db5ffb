// The result is the product and the residual.
const $PARTS: u32 = 1u;

fn $write(row: u32, column: u32, products: array<f32, $PARTS>) {
    output[batch_output(row, column)] = params.scale * bias_add(column, 0u, products[0])
        + residual[params.residual_offset + row * params.residual_stride + column];
}

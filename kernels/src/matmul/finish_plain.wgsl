// The result is the product.
fn $write(row: u32, column: u32, product: f32) {
    output[batch_output(row, column)] = params.scale * bias_add(column, product);
}

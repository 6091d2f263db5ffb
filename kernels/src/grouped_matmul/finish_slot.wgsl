// The result is the product. Tiles that are not full hold rows of nobody.
fn $write(row: u32, column: u32, product: f32) {
    if batch_holds(row) {
        output[batch_output(row, column)] = bias_add(column, product);
    }
}

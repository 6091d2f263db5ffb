// The result is the product.
fn $write(row: u32, column: u32, product: f32) {
    output[params.output_offset + row * params.output_stride + column] = params.scale * bias_add(column, product);
}

// The result is the product and the residual.
@group(0) @binding(4) var<storage, read> residual: array<f32>; // [rows of input, rows of all shards]

fn $write(row: u32, column: u32, product: f32) {
    output[places_output(row, column)] = params.scale * bias_add(column, product)
        + residual[params.residual_offset + row * params.residual_stride + column];
}

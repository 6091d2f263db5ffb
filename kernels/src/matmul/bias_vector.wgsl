// Each row of the weight has a number that is added to its product.
@group(0) @binding(BIAS_BINDING) var<storage, read> bias: array<f32>; // [rows of all shards]

fn $add(column: u32, product: f32) -> f32 {
    return product + bias[rows_whole(column)];
}

// Each row of the weight has a number that is added to its product.
fn $add(column: u32, part: u32, product: f32) -> f32 {
    return product + bias[row_whole(column, part)];
}

// Nothing is added to a row's product.
fn $add(column: u32, part: u32, product: f32) -> f32 {
    return product;
}

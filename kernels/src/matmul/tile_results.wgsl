// Of four rows of the weight, SIDE apart, those that a result is made of.
fn $products(sums: vec4<f32>, j: u32) -> array<f32, finish_PARTS> {
    var products: array<f32, finish_PARTS>;
    for (var part = 0u; part < finish_PARTS; part++) {
        products[part] = sums[j + part * (4u / finish_PARTS)];
    }
    return products;
}

// Writes an invocation's results: sums[i][j] is row `input_row + i * SIDE` of the input times row `first_row + j * SIDE` of the weight tile.
fn $write(input_row: u32, first_row: u32, sums: array<vec4<f32>, 4>) {
    for (var j = 0u; j < 4u / finish_PARTS; j++) {
        let row = first_row + j * SIDE;
        if row_in_shard(row) {
            finish_write(input_row, row, $products(sums[0], j));
            finish_write(input_row + SIDE, row, $products(sums[1], j));
            finish_write(input_row + 2u * SIDE, row, $products(sums[2], j));
            finish_write(input_row + 3u * SIDE, row, $products(sums[3], j));
        }
    }
}

// The rows of `row_matrix`: one part after the other in the results, in the weight as its strides say.
var<private> $matrix: u32;

// The place of a result's row among the rows of all shards. Where parts meet in a result, `part` tells which; else rows do.
fn $whole(row: u32, part: u32) -> u32 {
    return (part + row / params.part_rows) * params.part_stride + $matrix * params.matrix_stride + row % params.part_rows * params.step;
}

// Whether none of some rows that follow each other is here, as far as their ends tell.
fn $none_of(first: u32, count: u32) -> bool {
    let last = min(first + count, params.rows) - 1u;
    let one_part = first / params.part_rows == last / params.part_rows;
    return first >= params.rows
        || (one_part && ($whole(last, 0u) < params.first_row || $whole(first, 0u) >= params.first_row + params.shard_rows));
}

fn $in_shard(row: u32) -> bool {
    let whole = $whole(row, 0u);
    return row < params.rows && whole >= params.first_row && whole - params.first_row < params.shard_rows;
}

// Its place in the shard; some place for one that is not here.
fn $at(row: u32, part: u32) -> u32 {
    return min(max($whole(row, part), params.first_row) - params.first_row, params.shard_rows - 1u);
}

// Where a result of a slot of a token lies.
fn $output(token: u32, slot: u32, column: u32) -> u32 {
    let part = column / params.part_rows;
    return params.output_offset + token * params.output_stride
        + (part * params.slots + slot) * params.part_rows + column % params.part_rows;
}

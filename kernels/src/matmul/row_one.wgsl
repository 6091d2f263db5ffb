// The rows of the one matrix lie in the shard as results are counted.
fn $in_shard(row: u32) -> bool {
    return row < params.rows;
}

// The place of a result's row in the shard; some place for one that is not here.
fn $at(row: u32) -> u32 {
    return min(row, params.rows - 1u);
}

// Whether none of some rows that follow each other is here.
fn $none_of(first: u32, count: u32) -> bool {
    return false;
}

// Its place among the rows of all shards.
fn $whole(row: u32) -> u32 {
    return params.first_row + row;
}

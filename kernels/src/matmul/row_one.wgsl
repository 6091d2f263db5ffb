// The rows of the one matrix lie in the shard as results are counted; of a matrix of several parts, part by part.
fn $in_shard(row: u32) -> bool {
    return row < params.rows;
}

// The place of a part's row in the shard; some place for one that is not here.
fn $at(row: u32, part: u32) -> u32 {
    return part * params.rows + min(row, params.rows - 1u);
}

// Whether none of some rows that follow each other is here.
fn $none_of(first: u32, count: u32) -> bool {
    return false;
}

// Its place among the rows of all shards.
fn $whole(row: u32, part: u32) -> u32 {
    return params.first_row + part * params.rows + row;
}

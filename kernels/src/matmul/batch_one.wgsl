// All rows of the input meet the one matrix: row by row, or tile by tile.
fn $offset(group: u32, groups: u32, tile: u32) -> u32 {
    return group * tile;
}

fn $empty() -> bool {
    return false;
}

fn $holds(row: u32) -> bool {
    return true;
}

// Where a row of the input begins.
fn $input(row: u32) -> u32 {
    return params.input_offset + row * params.input_stride;
}

// Where a result of a row of the input lies.
fn $output(row: u32, column: u32) -> u32 {
    return params.output_offset + row * params.output_stride + column;
}

// A tile of the slots for which one matrix was chosen, as list.wgsl sorted them.
var<private> $last: u32;
var<private> $none: bool;

fn $offset(group: u32, groups: u32, tile: u32) -> u32 {
    let found = tiles[group];
    row_matrix = found.x;
    $last = found.z;
    $none = found.y == found.z;
    return found.y;
}

fn $empty() -> bool {
    return $none;
}

fn $input(row: u32) -> u32 {
    let place = listed[min(row, $last - 1u)];
    return params.input_offset + place / params.slots * params.input_stride + place % params.slots * params.slot_quads;
}

fn $holds(row: u32) -> bool {
    return row < $last;
}

fn $output(row: u32, column: u32) -> u32 {
    let place = listed[row];
    return row_output(place / params.slots, place % params.slots, column);
}

// Each slot has a matrix of its own, which all tokens meet.
var<private> $slot: u32;

fn $offset(group: u32, groups: u32, tile: u32) -> u32 {
    let tiles = groups / params.slots;
    $slot = group / tiles;
    row_matrix = $slot;
    return group % tiles * tile;
}

fn $empty() -> bool {
    return false;
}

fn $input(row: u32) -> u32 {
    return params.input_offset + row * params.input_stride + $slot * params.slot_quads;
}

fn $holds(row: u32) -> bool {
    return true;
}

fn $output(row: u32, column: u32) -> u32 {
    return row_output(row, $slot, column);
}

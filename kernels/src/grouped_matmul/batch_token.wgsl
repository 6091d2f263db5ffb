// One slot of one token, with the matrix that was chosen for it.
var<private> $token: u32;
var<private> $slot: u32;

fn $offset(group: u32, groups: u32, tile: u32) -> u32 {
    $token = group / params.slots;
    $slot = group % params.slots;
    row_matrix = u32(routes[params.routes_offset + $token * params.routes_stride + $slot]);
    return 0u;
}

fn $empty() -> bool {
    return false;
}

fn $input(row: u32) -> u32 {
    return params.input_offset + $token * params.input_stride + $slot * params.slot_quads;
}

fn $holds(row: u32) -> bool {
    return true;
}

fn $output(row: u32, column: u32) -> u32 {
    return row_output($token, $slot, column);
}

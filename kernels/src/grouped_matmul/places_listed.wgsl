// A tile of the slots for which one matrix was chosen, as list.wgsl sorted them.
@group(0) @binding(4) var<storage, read> tiles: array<vec4<u32>>; // [tiles] of matrix, first, last + 1, 0
@group(0) @binding(5) var<storage, read> listed: array<u32>; // [tokens * slots] of token * slots + slot

var<private> $last: u32;
var<private> $none: bool;

fn $begin(group: u32, groups: u32, tile: u32) -> u32 {
    let found = tiles[group];
    rows_matrix = found.x;
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
    return rows_output(place / params.slots, place % params.slots, column);
}

// Sorts the slots of all tokens by the matrices that were chosen for them, and cuts each matrix's into tiles. One workgroup does
// all; the grid has as many as there are tokens, which tells their number.

var<workgroup> counts: array<atomic<u32>, MATRICES>;
var<workgroup> firsts: array<u32, MATRICES>;
var<workgroup> first_tiles: array<u32, MATRICES>;
var<workgroup> next: array<atomic<u32>, MATRICES>;
var<workgroup> all_tiles: u32;

fn matrix_of(place: u32) -> u32 {
    return u32(routes[params.routes_offset + place / params.slots * params.routes_stride + place % params.slots]);
}

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    if group.y > 0u {
        return;
    }
    let places = groups.y * params.slots;
    for (var matrix = index; matrix < MATRICES; matrix += WORKGROUP) {
        atomicStore(&counts[matrix], 0u);
        atomicStore(&next[matrix], 0u);
    }
    workgroupBarrier();
    for (var place = index; place < places; place += WORKGROUP) {
        atomicAdd(&counts[matrix_of(place)], 1u);
    }
    workgroupBarrier();
    if index == 0u {
        var first = 0u;
        var tile = 0u;
        for (var matrix = 0u; matrix < MATRICES; matrix++) {
            let count = atomicLoad(&counts[matrix]);
            firsts[matrix] = first;
            first_tiles[matrix] = tile;
            first += count;
            tile += (count + TILE - 1u) / TILE;
        }
        all_tiles = tile;
    }
    workgroupBarrier();
    for (var place = index; place < places; place += WORKGROUP) {
        let matrix = matrix_of(place);
        listed[firsts[matrix] + atomicAdd(&next[matrix], 1u)] = place;
    }
    for (var matrix = index; matrix < MATRICES; matrix += WORKGROUP) {
        let last = firsts[matrix] + atomicLoad(&counts[matrix]);
        var tile = first_tiles[matrix];
        for (var first = firsts[matrix]; first < last; first += TILE) {
            tiles[tile] = vec4<u32>(matrix, first, min(first + TILE, last), 0u);
            tile++;
        }
    }
    // As many tiles as the products are dispatched for, the rest of them empty.
    let dispatched = (groups.y + TILE - 1u) / TILE * params.slots + MATRICES;
    for (var tile = all_tiles + index; tile < dispatched; tile += WORKGROUP) {
        tiles[tile] = vec4<u32>(0u);
    }
}

// Sums of subgroups meet in workgroup memory. No subgroup is smaller than 4.
var<workgroup> $totals: array<f32, (WORKGROUP + 3u) / 4u * SUMS>; // [subgroups, SUMS]

fn $total(sum: u32, lane: Lane) -> f32 {
    var total = 0.0;
    for (var subgroup = 0u; subgroup < lane.subgroups; subgroup++) {
        total += $totals[subgroup * SUMS + sum];
    }
    return total;
}

fn $write(sums: ptr<function, array<f32, SUMS>>, first_row: u32, first_input: u32, lane: Lane) {
    for (var sum = 0u; sum < SUMS; sum++) {
        let total = subgroupAdd((*sums)[sum]);
        if lane.subgroup_lane == 0u {
            $totals[lane.subgroup * SUMS + sum] = total;
        }
    }
    workgroupBarrier();
    for (var output = lane.index; output < OUTPUTS; output += WORKGROUP) {
        write_output(output, first_row, first_input, lane);
    }
}

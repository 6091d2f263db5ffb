// Sums of subgroups meet in workgroup memory. No subgroup is smaller than 4.
var<workgroup> $totals: array<f32, (WORKGROUP + 3u) / 4u * RESULTS>; // [subgroups, RESULTS]

fn $write(sums: ptr<function, array<f32, RESULTS>>, first_row: u32, first_input: u32, lane: Lane) {
    for (var result = 0u; result < RESULTS; result++) {
        let sum = subgroupAdd((*sums)[result]);
        if lane.subgroup_lane == 0u {
            $totals[lane.subgroup * RESULTS + result] = sum;
        }
    }
    workgroupBarrier();
    for (var result = lane.index; result < RESULTS; result += WORKGROUP) {
        var sum = 0.0;
        for (var subgroup = 0u; subgroup < lane.subgroups; subgroup++) {
            sum += $totals[subgroup * RESULTS + result];
        }
        write_result(result, first_row, first_input, sum);
    }
}

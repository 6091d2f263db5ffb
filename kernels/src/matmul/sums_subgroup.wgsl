// The workgroup is one subgroup, whose lanes all have the totals.
var<private> $totals: array<f32, SUMS>;

fn $total(sum: u32, lane: Lane) -> f32 {
    return $totals[sum];
}

fn $write(sums: ptr<function, array<f32, SUMS>>, first_row: u32, first_input: u32, lane: Lane) {
    for (var sum = 0u; sum < SUMS; sum++) {
        $totals[sum] = subgroupAdd((*sums)[sum]);
    }
    if lane.subgroup_lane == 0u {
        for (var output = 0u; output < OUTPUTS; output++) {
            write_output(output, first_row, first_input, lane);
        }
    }
}

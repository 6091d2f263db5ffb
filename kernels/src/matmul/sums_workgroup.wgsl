// Sums of lanes meet in workgroup memory.
var<workgroup> $totals: array<f32, WORKGROUP * SUMS>; // [WORKGROUP, SUMS]

fn $total(sum: u32, lane: Lane) -> f32 {
    return $totals[sum];
}

fn $write(sums: ptr<function, array<f32, SUMS>>, first_row: u32, first_input: u32, lane: Lane) {
    for (var sum = 0u; sum < SUMS; sum++) {
        $totals[lane.index * SUMS + sum] = (*sums)[sum];
    }
    for (var half = WORKGROUP / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        for (var place = lane.index; place < half * SUMS; place += WORKGROUP) {
            $totals[place] += $totals[place + half * SUMS];
        }
    }
    workgroupBarrier();
    for (var output = lane.index; output < OUTPUTS; output += WORKGROUP) {
        write_output(output, first_row, first_input, lane);
    }
}

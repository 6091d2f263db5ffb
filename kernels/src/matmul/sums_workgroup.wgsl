// Sums of lanes meet in workgroup memory.
var<workgroup> $totals: array<f32, WORKGROUP * RESULTS>; // [WORKGROUP, RESULTS]

fn $write(sums: ptr<function, array<f32, RESULTS>>, first_row: u32, first_input: u32, lane: Lane) {
    for (var result = 0u; result < RESULTS; result++) {
        $totals[lane.index * RESULTS + result] = (*sums)[result];
    }
    for (var half = WORKGROUP / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        for (var place = lane.index; place < half * RESULTS; place += WORKGROUP) {
            $totals[place] += $totals[place + half * RESULTS];
        }
    }
    workgroupBarrier();
    for (var result = lane.index; result < RESULTS; result += WORKGROUP) {
        write_result(result, first_row, first_input, $totals[result]);
    }
}

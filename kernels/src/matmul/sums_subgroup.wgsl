// The workgroup is one subgroup.
fn $write(sums: ptr<function, array<f32, RESULTS>>, first_row: u32, first_input: u32, lane: Lane) {
    for (var result = 0u; result < RESULTS; result++) {
        let sum = subgroupAdd((*sums)[result]);
        if lane.subgroup_lane == 0u {
            write_result(result, first_row, first_input, sum);
        }
    }
}

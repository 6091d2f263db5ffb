// Reductions through workgroup memory, for devices without subgroup operations. The workgroup is a power of two.
struct Lane {
    index: u32,
}

var<workgroup> lane_values: array<f32, WORKGROUP>;

fn workgroup_sum(value: f32, lane: Lane) -> f32 {
    // The values of an earlier reduction may still be read.
    workgroupBarrier();
    lane_values[lane.index] = value;
    workgroupBarrier();
    for (var half = WORKGROUP / 2u; half > 0u; half /= 2u) {
        if lane.index < half {
            lane_values[lane.index] += lane_values[lane.index + half];
        }
        workgroupBarrier();
    }
    return lane_values[0];
}

fn workgroup_max(value: f32, lane: Lane) -> f32 {
    workgroupBarrier();
    lane_values[lane.index] = value;
    workgroupBarrier();
    for (var half = WORKGROUP / 2u; half > 0u; half /= 2u) {
        if lane.index < half {
            lane_values[lane.index] = max(lane_values[lane.index], lane_values[lane.index + half]);
        }
        workgroupBarrier();
    }
    return lane_values[0];
}

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    run(group, groups, Lane(index));
}

// Reductions by subgroup operations. A subgroup is a subgroup, of whatever size the driver chose.
struct Lane {
    index: u32,
    subgroup: u32,
    subgroups: u32,
    subgroup_lane: u32,
}

// No subgroup is smaller than 4.
var<workgroup> subgroup_totals: array<f32, (WORKGROUP + 3u) / 4u>;

fn share_total(total: f32, lane: Lane) {
    // The totals of an earlier reduction may still be read.
    workgroupBarrier();
    if lane.subgroup_lane == 0u {
        subgroup_totals[lane.subgroup] = total;
    }
    workgroupBarrier();
}

fn workgroup_sum(value: f32, lane: Lane) -> f32 {
    share_total(subgroupAdd(value), lane);
    var total = 0.0;
    for (var subgroup = 0u; subgroup < lane.subgroups; subgroup++) {
        total += subgroup_totals[subgroup];
    }
    return total;
}

fn workgroup_max(value: f32, lane: Lane) -> f32 {
    share_total(subgroupMax(value), lane);
    var largest = subgroup_totals[0];
    for (var subgroup = 1u; subgroup < lane.subgroups; subgroup++) {
        largest = max(largest, subgroup_totals[subgroup]);
    }
    return largest;
}

// One by one: for built-ins of subgroups in a struct, naga writes HLSL that DX12's compiler refuses.
@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(num_subgroups) subgroups: u32,
    @builtin(subgroup_invocation_id) subgroup_lane: u32,
) {
    run(group, groups, Lane(index, subgroup, subgroups, subgroup_lane));
}

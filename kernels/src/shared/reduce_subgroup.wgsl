// Reductions by subgroup operations. A team is a subgroup, of whatever size the driver chose.
struct Lane {
    index: u32,
    team: u32,
    teams: u32,
    team_lane: u32,
    team_size: u32,
}

// No subgroup is smaller than 4.
var<workgroup> team_totals: array<f32, (WORKGROUP + 3u) / 4u>;

fn team_index(lane: Lane) -> u32 { return lane.team; }
fn team_count(lane: Lane) -> u32 { return lane.teams; }
fn team_lane(lane: Lane) -> u32 { return lane.team_lane; }
fn team_size(lane: Lane) -> u32 { return lane.team_size; }

fn team_sum(value: f32, lane: Lane) -> f32 {
    return subgroupAdd(value);
}

fn share_total(total: f32, lane: Lane) {
    // The totals of an earlier reduction may still be read.
    workgroupBarrier();
    if lane.team_lane == 0u {
        team_totals[lane.team] = total;
    }
    workgroupBarrier();
}

fn workgroup_sum(value: f32, lane: Lane) -> f32 {
    share_total(subgroupAdd(value), lane);
    var total = 0.0;
    for (var team = 0u; team < lane.teams; team++) {
        total += team_totals[team];
    }
    return total;
}

fn workgroup_max(value: f32, lane: Lane) -> f32 {
    share_total(subgroupMax(value), lane);
    var largest = team_totals[0];
    for (var team = 1u; team < lane.teams; team++) {
        largest = max(largest, team_totals[team]);
    }
    return largest;
}

// One by one: for built-ins of subgroups in a struct, naga writes HLSL that DX12's compiler refuses.
@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
    @builtin(subgroup_id) team: u32,
    @builtin(num_subgroups) teams: u32,
    @builtin(subgroup_invocation_id) team_lane: u32,
    @builtin(subgroup_size) team_size: u32,
) {
    run(group, groups, Lane(index, team, teams, team_lane, team_size));
}

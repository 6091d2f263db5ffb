// The largest and the sum of what all lanes have, for each of GROUP heads; every lane gets them. No subgroup is smaller than 4.
var<workgroup> $values: array<f32, (WORKGROUP + 3u) / 4u * GROUP>; // [subgroups, GROUP]

fn $max(values: ptr<function, array<f32, GROUP>>, lane: Lane) {
    // The values of an earlier one may still be read.
    workgroupBarrier();
    for (var head = 0u; head < GROUP; head++) {
        let largest = subgroupMax((*values)[head]);
        if lane.subgroup_lane == 0u {
            $values[lane.subgroup * GROUP + head] = largest;
        }
    }
    workgroupBarrier();
    for (var head = 0u; head < GROUP; head++) {
        (*values)[head] = $values[head];
        for (var subgroup = 1u; subgroup < lane.subgroups; subgroup++) {
            (*values)[head] = max((*values)[head], $values[subgroup * GROUP + head]);
        }
    }
}

fn $sum(values: ptr<function, array<f32, GROUP>>, lane: Lane) {
    workgroupBarrier();
    for (var head = 0u; head < GROUP; head++) {
        let sum = subgroupAdd((*values)[head]);
        if lane.subgroup_lane == 0u {
            $values[lane.subgroup * GROUP + head] = sum;
        }
    }
    workgroupBarrier();
    for (var head = 0u; head < GROUP; head++) {
        (*values)[head] = $values[head];
        for (var subgroup = 1u; subgroup < lane.subgroups; subgroup++) {
            (*values)[head] += $values[subgroup * GROUP + head];
        }
    }
}

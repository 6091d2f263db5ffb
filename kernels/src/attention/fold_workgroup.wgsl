// The largest and the sum of what all lanes have, for each of GROUP heads; every lane gets them. Lanes meet in workgroup memory.
var<workgroup> $values: array<f32, WORKGROUP * GROUP>; // [WORKGROUP, GROUP]

fn $give(values: ptr<function, array<f32, GROUP>>, lane: Lane) {
    // The values of an earlier one may still be read.
    workgroupBarrier();
    for (var head = 0u; head < GROUP; head++) {
        $values[lane.index * GROUP + head] = (*values)[head];
    }
}

fn $take(values: ptr<function, array<f32, GROUP>>) {
    workgroupBarrier();
    for (var head = 0u; head < GROUP; head++) {
        (*values)[head] = $values[head];
    }
}

fn $max(values: ptr<function, array<f32, GROUP>>, lane: Lane) {
    $give(values, lane);
    for (var half = WORKGROUP / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        for (var place = lane.index; place < half * GROUP; place += WORKGROUP) {
            $values[place] = max($values[place], $values[place + half * GROUP]);
        }
    }
    $take(values);
}

fn $sum(values: ptr<function, array<f32, GROUP>>, lane: Lane) {
    $give(values, lane);
    for (var half = WORKGROUP / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        for (var place = lane.index; place < half * GROUP; place += WORKGROUP) {
            $values[place] += $values[place + half * GROUP];
        }
    }
    $take(values);
}

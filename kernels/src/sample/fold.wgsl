// Folds a segment of each row to one pair, with the monoid that is imported.
struct Pair {
    value: f32,
    second: u32,
}

#import source
#import monoid
#import target

var<workgroup> pairs: array<Pair, WORKGROUP>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let first = group.x * SEGMENT;
    let last = min(first + SEGMENT, params.width);
    var pair = Pair(monoid_VALUE, monoid_SECOND);
    for (var element = first + index; element < last; element += WORKGROUP) {
        pair = monoid_join(pair, monoid_lift(source_value(group.y, element), source_second(group.y, element)));
    }
    pairs[index] = pair;
    workgroupBarrier();
    for (var half = WORKGROUP / 2u; half > 0u; half /= 2u) {
        if index < half {
            pairs[index] = monoid_join(pairs[index], pairs[index + half]);
        }
        workgroupBarrier();
    }
    if index == 0u {
        target_write(group.y, group.x, pairs[0].value, pairs[0].second);
    }
}

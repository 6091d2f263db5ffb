// Folds a segment of each row to one pair, with the monoid that is imported.
struct Params {
    width: u32, // elements of a row
    input_offset: u32,
    input_stride: u32,
    output_offset: u32,
    output_stride: u32,
}

struct Pair {
    value: f32,
    second: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<u32>; // [rows, width] logits, or pairs of an earlier pass
@group(0) @binding(2) var<storage, read_write> output: array<u32>; // [rows, segments] pairs, or [rows, 1] results

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

// The COUNT largest elements of a segment of each row: a bitonic sort in workgroup memory.

#import source
#import target

var<workgroup> sort_values: array<f32, SEGMENT>;
var<workgroup> sort_ids: array<u32, SEGMENT>;

// Whether element a belongs before element b: the larger value, the lower id of equals.
fn precedes(a: u32, b: u32) -> bool {
    return sort_values[a] > sort_values[b] || (sort_values[a] == sort_values[b] && sort_ids[a] < sort_ids[b]);
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let first = group.x * SEGMENT;
    for (var place = index; place < SEGMENT; place += WORKGROUP) {
        sort_values[place] = -3.4028234e38;
        sort_ids[place] = 0xffffffffu;
        if first + place < params.width {
            let value = source_value(group.y, first + place);
            // What is not a number would leave the order undefined; it goes to the end.
            if value >= -3.4028234e38 {
                sort_values[place] = value;
            }
            sort_ids[place] = source_second(group.y, first + place);
        }
    }
    workgroupBarrier();
    for (var block = 2u; block <= SEGMENT; block *= 2u) {
        for (var distance = block / 2u; distance > 0u; distance /= 2u) {
            for (var pair = index; pair < SEGMENT / 2u; pair += WORKGROUP) {
                let low = pair / distance * distance * 2u + pair % distance;
                let high = low + distance;
                // Blocks alternate in direction, so that two make a bitonic sequence for the next size.
                let descending = (low & block) == 0u;
                let swap = select(precedes(low, high), precedes(high, low), descending);
                if swap {
                    let value = sort_values[low];
                    let id = sort_ids[low];
                    sort_values[low] = sort_values[high];
                    sort_ids[low] = sort_ids[high];
                    sort_values[high] = value;
                    sort_ids[high] = id;
                }
            }
            workgroupBarrier();
        }
    }
    for (var place = index; place < COUNT; place += WORKGROUP) {
        target_write(group.y, group.x * COUNT + place, sort_values[place], sort_ids[place]);
    }
}

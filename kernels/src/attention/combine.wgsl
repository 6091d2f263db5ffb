// Combines what few.wgsl left for the spans that a token sees. One workgroup for each token and query head.

#import sink
#import spans

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let head = group.x;
    let first = (group.y * params.heads + head) * params.spans;
    let spans = spans_of(tokens[group.y].y + 1u).count;
    let sink = sink_largest(head);
    var largest = sink;
    for (var span = 0u; span < spans; span++) {
        largest = max(largest, softmax[first + span].x);
    }
    var total = sink_TOTAL * exp(sink - largest);
    for (var span = 0u; span < spans; span++) {
        total += softmax[first + span].y * exp(softmax[first + span].x - largest);
    }
    for (var quad = index; quad < VALUE_QUADS; quad += WORKGROUP) {
        var sum = vec4<f32>(0.0);
        for (var span = 0u; span < spans; span++) {
            sum += sums[(first + span) * VALUE_QUADS + quad] * exp(softmax[first + span].x - largest);
        }
        output[params.output_offset + group.y * params.output_stride + head * VALUE_QUADS + quad] = sum / total;
    }
}

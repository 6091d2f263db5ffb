// Scores are a softmax over all experts.
fn $scores(first: u32, lane: Lane) {
    var own_largest = LOWEST;
    for (var expert = lane.index; expert < EXPERTS; expert += WORKGROUP) {
        own_largest = max(own_largest, logits[first + expert]);
    }
    let largest = workgroup_max(own_largest, lane);
    var own_total = 0.0;
    for (var expert = lane.index; expert < EXPERTS; expert += WORKGROUP) {
        let score = exp(logits[first + expert] - largest);
        scores[expert] = score;
        own_total += score;
    }
    let total = workgroup_sum(own_total, lane);
    for (var expert = lane.index; expert < EXPERTS; expert += WORKGROUP) {
        scores[expert] /= total;
    }
}

// Scores are the logistic function of each logit. The exponent is bounded because WGSL leaves an overflowing exp undefined.
fn $scores(first: u32, lane: Lane) {
    for (var expert = lane.index; expert < EXPERTS; expert += WORKGROUP) {
        scores[expert] = 1.0 / (1.0 + exp(min(-logits[first + expert], 88.0)));
    }
}

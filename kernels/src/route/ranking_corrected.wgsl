// Experts rank by their scores with a correction of each, which balances them.
fn $of(first: u32, expert: u32) -> f32 {
    return scores[expert] + correction[expert];
}

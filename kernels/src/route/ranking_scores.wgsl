// Experts rank by their scores.
fn $of(first: u32, expert: u32) -> f32 {
    return scores[expert];
}

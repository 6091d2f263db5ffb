// Shares of the chosen add up to 1.
fn $of(score: f32, sum: f32) -> f32 {
    return score / (sum + 1e-20);
}

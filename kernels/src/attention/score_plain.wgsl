// Scores as they are.
fn $of(score: f32) -> f32 {
    return score;
}

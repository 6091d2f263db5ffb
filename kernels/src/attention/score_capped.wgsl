// Scores between -cap and cap: cap * tanh(score / cap).
fn $of(score: f32) -> f32 {
    return params.soft_cap * tanh_of(score / params.soft_cap);
}

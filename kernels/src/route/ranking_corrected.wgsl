// Experts rank by their scores with a correction of each, which balances them.
@group(0) @binding(3) var<storage, read> correction: array<f32>; // [EXPERTS]

fn $of(first: u32, expert: u32) -> f32 {
    return scores[expert] + correction[expert];
}

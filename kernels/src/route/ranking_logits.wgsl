// Experts rank by their logits, with which scores grow.
fn $of(first: u32, expert: u32) -> f32 {
    return logits[first + expert];
}

// A softmax that begins with one more score of each head, which no value belongs to.
const $TOTAL: f32 = 1.0;

fn $largest(head: u32) -> f32 {
    return sinks[head];
}

// Which of a shard's keys, and of its values, is that of a head at a position of a sequence. `heads` are those of the shard.
fn $place(sequence: u32, position: u32, head: u32, heads: u32) -> u32 {
    let page = pages[sequence * params.pages_per_sequence + position / PAGE_TOKENS];
    return (page * heads + head) * PAGE_TOKENS + position % PAGE_TOKENS;
}

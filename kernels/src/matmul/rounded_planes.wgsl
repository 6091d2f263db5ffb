// Input in blocks of 32 signed bytes, as rounded_blocks.wgsl has them, but the same field of all blocks lies together: lanes that take neighbouring
// blocks read neighbouring words.
fn $at(block: u32, field: u32) -> u32 {
    return field * params.blocks + block;
}

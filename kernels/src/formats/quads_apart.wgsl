// The quads of a quarter lie in the two halves of a block of 32, as nibbles of one word do.
fn $quads(quarter: u32) -> vec2<u32> {
    return vec2<u32>(quarter, quarter + 4u);
}


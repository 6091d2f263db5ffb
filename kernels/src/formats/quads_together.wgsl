// The quads of a quarter are neighbours.
fn $quads(quarter: u32) -> vec2<u32> {
    return vec2<u32>(2u * quarter, 2u * quarter + 1u);
}


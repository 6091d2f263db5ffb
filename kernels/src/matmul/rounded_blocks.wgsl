// Input in blocks of 32 signed bytes, three `vec4<u32>` each: two of bytes; and a scale, the scaled sums of both halves of the bytes, and the sum of
// the squares of what was normalised. A block lies together, as tiles take it.
fn $at(block: u32, field: u32) -> u32 {
    return block * 3u + field;
}

// Integers of 8 bits: a row is 2 vec4 of bytes per block of 32, then the pairs of the groups.
fn $decode(row: u32, blocks32: u32, block32: u32, quarter: u32) -> Quarter {
    let at = row + block32 * 2u;
    let affine = $affine(row + blocks32 * 2u, block32 / $GROUP_BLOCKS32);
    // Less 128 they are signed.
    let first = codes_of_signed_bytes($words[at][quarter] ^ 0x80808080u);
    let second = codes_of_signed_bytes($words[at + 1u][quarter] ^ 0x80808080u);
    return Quarter(vec2<f32>(affine.x), vec2<f32>(affine.y + 128.0), vec2<f32>(affine.z), first, second);
}


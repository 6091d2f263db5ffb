// Integers of 8 bits: a row is 2 vec4 of bytes per block of 32, then the pairs of the groups.
fn $decode(row: u32, blocks32: u32, block32: u32, quarter: u32) -> Quarter {
    let at = row + block32 * 2u;
    let affine = $affine(row + blocks32 * 2u, block32 / $GROUP_BLOCKS32);
    return $quarter(affine.x, affine.y, affine.z, $words[at][quarter], $words[at + 1u][quarter]);
}


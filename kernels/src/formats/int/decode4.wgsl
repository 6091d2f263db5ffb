// Integers of 4 bits: a row is one vec4 of nibbles per block of 32 (low nibbles first 16 elements), then the pairs of the groups.
fn $decode(row: u32, blocks32: u32, block32: u32, quarter: u32) -> Quarter {
    let nibbles = $words[row + block32][quarter];
    let affine = $affine(row + blocks32, block32 / $GROUP_BLOCKS32);
    return $quarter(affine.x, affine.y, affine.z, $low(nibbles), $high(nibbles));
}


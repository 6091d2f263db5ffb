// Q4_K: a row is one vec4 of nibbles per block of 32 (low nibbles first 16 elements), then one vec4 of scales per 8 blocks of 32.
fn $decode(row: u32, blocks32: u32, block32: u32, quarter: u32) -> Quarter {
    let nibbles = $words[row + block32][quarter];
    let affine = $affine($words[row + blocks32 + (block32 >> 3u)], block32);
    return $quarter(affine.x, 0.0, affine.y, $low(nibbles), $high(nibbles));
}


// Q5_K: a row is one vec4 of low nibbles per block of 32, then one word of high bits per block of 32, then one vec4 of scales per 8 blocks of 32.
fn $decode(row: u32, blocks32: u32, block32: u32, quarter: u32) -> Quarter {
    let nibbles = $words[row + block32][quarter];
    let bits = $word(row + blocks32, block32);
    let affine = $affine($words[row + blocks32 + blocks32 / 4u + (block32 >> 3u)], block32);
    return $five_bits(affine.x, 0.0, affine.y, nibbles, bits, quarter);
}


// Q5_1: a row is one vec4 of low nibbles per block of 32, then one word of high bits per block of 32, then a scale and a minimum per block of 32.
fn $decode(row: u32, blocks32: u32, block32: u32, quarter: u32) -> Quarter {
    let nibbles = $words[row + block32][quarter];
    let bits = $word(row + blocks32, block32);
    let affine = unpack2x16float($word(row + blocks32 + (blocks32 + 3u) / 4u, block32));
    return $five_bits(affine.x, 0.0, affine.y, nibbles, bits, quarter);
}


// Q4_0: a row is one vec4 of nibbles per block of 32 (low nibbles first 16 elements), then one half-precision scale per block of 32.
fn $decode(row: u32, blocks32: u32, block32: u32, quarter: u32) -> Quarter {
    let nibbles = $words[row + block32][quarter];
    return $quarter($half(row + blocks32, block32), -8.0, 0.0, $low(nibbles), $high(nibbles));
}


// IQ4_NL: a row is one vec4 of nibbles per block of 32 (low nibbles first 16 elements), then one half-precision scale per block of 32.
fn $decode(row: u32, blocks32: u32, block32: u32) -> Block32 {
    let nibbles = $words[row + block32];
    return Block32($half(row + blocks32, block32), $values(nibbles), $values(nibbles >> vec4<u32>(4u)));
}


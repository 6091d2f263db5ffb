// Q4_1: a row is one vec4 of nibbles per block of 32 (low nibbles first 16 elements), then a scale and a minimum per block of 32.
fn $decode(row: u32, blocks32: u32, block32: u32) -> Block32 {
    let nibbles = $words[row + block32];
    let affine = unpack2x16float($word(row + blocks32, block32));
    return Block32(
        1.0,
        $elements($nibbles(nibbles), affine.x, affine.y),
        $elements($nibbles(nibbles >> vec4<u32>(4u)), affine.x, affine.y),
    );
}


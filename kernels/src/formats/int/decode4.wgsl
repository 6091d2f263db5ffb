// Integers of 4 bits: a row is one vec4 of nibbles per block of 32 (low nibbles first 16 elements), then the pairs of the groups.
fn $decode(row: u32, blocks32: u32, block32: u32) -> Block32 {
    let nibbles = $words[row + block32];
    let affine = $affine(row + blocks32, block32 / $GROUP_BLOCKS32);
    return Block32(
        affine.x,
        $elements($nibbles(nibbles), affine.y, affine.z),
        $elements($nibbles(nibbles >> vec4<u32>(4u)), affine.y, affine.z),
    );
}


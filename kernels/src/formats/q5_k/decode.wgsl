// Q5_K: a row is one vec4 of low nibbles per block of 32, then one word of high bits per block of 32, then one vec4 of scales per 8 blocks of 32.
fn $decode(row: u32, blocks32: u32, block32: u32) -> Block32 {
    let nibbles = $words[row + block32];
    let bits = $word(row + blocks32, block32);
    let affine = $affine($words[row + blocks32 + blocks32 / 4u + (block32 >> 3u)], block32);
    return Block32(
        1.0,
        $elements($nibbles(nibbles) | ($bits(bits) << vec4<u32>(4u)), affine.x, affine.y),
        $elements($nibbles(nibbles >> vec4<u32>(4u)) | ($bits(bits >> 4u) << vec4<u32>(4u)), affine.x, affine.y),
    );
}


// MXFP4: a row is one vec4 of nibbles per block of 32 (low nibbles first 16 elements), then one byte of exponent per block of 32.
fn $decode(row: u32, blocks32: u32, block32: u32, quarter: u32) -> Quarter {
    let nibbles = $words[row + block32][quarter];
    let exponent = ($word(row + blocks32, block32 >> 2u) >> ((block32 & 3u) * 8u)) & 255u;
    // Half of 2 to the exponent minus 127; the two smallest are subnormal.
    let scale = bitcast<f32>(select((exponent - 1u) << 23u, 0x00200000u << (exponent & 1u), exponent < 2u));
    return $quarter(scale, $value_quad(nibbles), $value_quad(nibbles >> 4u));
}


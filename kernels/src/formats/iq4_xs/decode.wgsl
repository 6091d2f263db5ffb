// IQ4_XS: a row is one vec4 of nibbles per block of 32 (low nibbles first 16 elements), then 2 words per 8 blocks of 32: a half-precision
// scale and the high pairs of bits of 8 factors, then the factors' low nibbles.
fn $decode(row: u32, blocks32: u32, block32: u32, quarter: u32) -> Quarter {
    let nibbles = $words[row + block32][quarter];
    let at = (block32 >> 3u) * 2u;
    let first = $word(row + blocks32, at);
    let second = $word(row + blocks32, at + 1u);
    let low = (second >> ((block32 & 7u) * 4u)) & 15u;
    let high = (first >> (16u + (block32 & 7u) * 2u)) & 3u;
    let scale = unpack2x16float(first).x * (f32(low | (high << 4u)) - 32.0);
    return $quarter(scale, $value_quad(nibbles), $value_quad(nibbles >> 4u));
}


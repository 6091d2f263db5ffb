// TQ2_0: a row is 2 words of pairs of bits per block of 32, then one half-precision scale per 8 blocks of 32.
fn $decode(row: u32, blocks32: u32, block32: u32, quarter: u32) -> Quarter {
    let scale = $half(row + blocks32 / 2u, block32 >> 3u);
    return $quarter(
        scale,
        -1.0,
        0.0,
        $pairs($word(row, block32 * 2u), quarter),
        $pairs($word(row, block32 * 2u + 1u), quarter),
    );
}


// Q8_0: a row is 2 vec4 of signed bytes per block of 32, then one half-precision scale per block of 32.
fn $decode(row: u32, blocks32: u32, block32: u32, quarter: u32) -> Quarter {
    let at = row + block32 * 2u;
    let scale = $half(row + blocks32 * 2u, block32);
    return $quarter(
        scale,
        codes_of_signed_bytes($words[at][quarter]),
        codes_of_signed_bytes($words[at + 1u][quarter]),
    );
}


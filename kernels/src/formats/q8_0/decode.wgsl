// Q8_0: a row is 2 vec4 of signed bytes per block of 32, then one half-precision scale per block of 32.
fn $decode(row: u32, blocks32: u32, block32: u32, quarter: u32) -> Quarter {
    let at = row + block32 * 2u;
    let scale = $half(row + blocks32 * 2u, block32);
    return $quarter(
        scale,
        vec4<f32>(unpack4xI8($words[at][quarter])),
        vec4<f32>(unpack4xI8($words[at + 1u][quarter])),
    );
}


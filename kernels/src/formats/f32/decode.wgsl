// F32: a block of 32 is 8 vec4 of numbers.
fn $decode(row: u32, blocks32: u32, block32: u32, quarter: u32) -> Quarter {
    let at = row + block32 * 8u + quarter * 2u;
    return $quarter(1.0, bitcast<vec4<f32>>($words[at]), bitcast<vec4<f32>>($words[at + 1u]));
}


// F32: a block of 32 is 8 vec4 of numbers.
fn $quad(at: u32) -> vec4<f32> {
    return bitcast<vec4<f32>>($words[at]);
}

fn $decode(row: u32, blocks32: u32, block32: u32) -> Block32 {
    let at = row + block32 * 8u;
    return Block32(
        1.0,
        mat4x4<f32>($quad(at), $quad(at + 1u), $quad(at + 2u), $quad(at + 3u)),
        mat4x4<f32>($quad(at + 4u), $quad(at + 5u), $quad(at + 6u), $quad(at + 7u)),
    );
}

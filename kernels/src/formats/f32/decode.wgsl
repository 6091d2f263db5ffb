// F32: a unit is 8 vec4 of numbers.
fn $quad(at: u32) -> vec4<f32> {
    return bitcast<vec4<f32>>($words[at]);
}

fn $decode(row: u32, units: u32, unit: u32) -> Unit {
    let at = row + unit * 8u;
    return Unit(
        1.0,
        mat4x4<f32>($quad(at), $quad(at + 1u), $quad(at + 2u), $quad(at + 3u)),
        mat4x4<f32>($quad(at + 4u), $quad(at + 5u), $quad(at + 6u), $quad(at + 7u)),
    );
}

// F16: a unit is 4 vec4 of words, each word two halves, the first in its low bits.
fn $quad(low: u32, high: u32) -> vec4<f32> {
    return vec4<f32>(unpack2x16float(low), unpack2x16float(high));
}

fn $half_unit(at: u32) -> mat4x4<f32> {
    let first = $words[at];
    let second = $words[at + 1u];
    return mat4x4<f32>(
        $quad(first.x, first.y),
        $quad(first.z, first.w),
        $quad(second.x, second.y),
        $quad(second.z, second.w),
    );
}

fn $decode(row: u32, units: u32, unit: u32) -> Unit {
    let at = row + unit * 4u;
    return Unit(1.0, $half_unit(at), $half_unit(at + 2u));
}

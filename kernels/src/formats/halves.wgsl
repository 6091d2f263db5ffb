// A unit of 16-bit numbers is 4 vec4 of words, each word two numbers, the first in its low bits; `$quad` decodes two words.
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

// A block of 32 of 16-bit numbers is 4 vec4 of words, each word two numbers, the first in its low bits; `$quad` decodes two words.
fn $half_block32(at: u32) -> mat4x4<f32> {
    let first = $words[at];
    let second = $words[at + 1u];
    return mat4x4<f32>(
        $quad(first.x, first.y),
        $quad(first.z, first.w),
        $quad(second.x, second.y),
        $quad(second.z, second.w),
    );
}

fn $decode(row: u32, blocks32: u32, block32: u32) -> Block32 {
    let at = row + block32 * 4u;
    return Block32(1.0, $half_block32(at), $half_block32(at + 2u));
}

// A word and a half-precision number by their place in a plane that begins at a vec4.
fn $word(plane: u32, index: u32) -> u32 {
    return $words[plane + (index >> 2u)][index & 3u];
}

fn $half(plane: u32, index: u32) -> f32 {
    let halves = unpack2x16float($word(plane, index >> 1u));
    return select(halves.x, halves.y, (index & 1u) == 1u);
}

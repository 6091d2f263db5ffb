// Twice what nibbles stand for (E2M1): 0, 0.5, 1, 1.5, 2, 3, 4 and 6 and their negatives. Doubled they are nibbles of a word.
fn $value_quad(nibbles: u32) -> Codes {
    let codes = (vec4<u32>(nibbles) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(15u);
    let doubled = vec4<i32>((vec4<u32>(0xc8643210u) >> ((codes & vec4<u32>(7u)) * 4u)) & vec4<u32>(15u));
    return codes_of_integers(select(doubled, -doubled, (codes & vec4<u32>(8u)) != vec4<u32>(0u)));
}


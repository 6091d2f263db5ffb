// The values that nibbles stand for, signed bytes in four words.
fn $value_quad(nibbles: u32) -> Codes {
    let codes = (vec4<u32>(nibbles) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(15u);
    let odd = (codes & vec4<u32>(4u)) != vec4<u32>(0u);
    let below = select(vec4<u32>(0xbfad9881u), vec4<u32>(0xf6eaddcfu), odd);
    let above = select(vec4<u32>(0x26190d01u), vec4<u32>(0x71594535u), odd);
    let words = select(below, above, (codes & vec4<u32>(8u)) != vec4<u32>(0u));
    let bytes = words << (vec4<u32>(24u) - (codes & vec4<u32>(3u)) * vec4<u32>(8u));
    return codes_of_integers(bitcast<vec4<i32>>(bytes) >> vec4<u32>(24u));
}


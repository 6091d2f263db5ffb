// Keys and values in half precision, without needing f16 of the device. Packing is undefined out of range, so it is bounded.
alias KvWord = vec2<u32>;
const $QUADS: u32 = 1u; // that are stored together
const $WORDS: u32 = 1u; // that they become

fn $encode(quads: array<vec4<f32>, $QUADS>) -> array<KvWord, $WORDS> {
    let bounded = clamp(quads[0], vec4<f32>(-65504.0), vec4<f32>(65504.0));
    return array<KvWord, $WORDS>(vec2<u32>(pack2x16float(bounded.xy), pack2x16float(bounded.zw)));
}

fn $decode(word: KvWord) -> vec4<f32> {
    return vec4<f32>(unpack2x16float(word.x), unpack2x16float(word.y));
}

// Keys and values in single precision.
alias KvWord = vec4<f32>;
const $QUADS: u32 = 1u; // that are stored together
const $WORDS: u32 = 1u; // that they become

fn $encode(quads: array<vec4<f32>, $QUADS>) -> array<KvWord, $WORDS> { return array<KvWord, $WORDS>(quads[0]); }
fn $decode(word: KvWord) -> vec4<f32> { return word; }

// Of a head: the last may have fewer quads.
const $UNITS: u32 = ($QUADS + kv_QUADS - 1u) / kv_QUADS;

// Stores a unit of a token's head, one of this shard's: quads that are stored together.
fn $put(token: vec4<u32>, head: u32, unit: u32, quads: array<vec4<f32>, kv_QUADS>) {
    var words = kv_encode(quads);
    let first_word = unit * kv_WORDS;
    let cached = pages_place(token.z, token.y, head, params.kv_heads) * $WORDS + first_word;
    for (var word = 0u; word < min(kv_WORDS, $WORDS - first_word); word++) {
        $cached[cached + word] = words[word];
    }
}

// Keys, or values, in memory of their own.

// Of a head: the last may have fewer quads.
const $UNITS: u32 = ($QUADS + kv_QUADS - 1u) / kv_QUADS;

// Writes the quads of a token's unit, of this shard's heads.
fn $write(row: u32, token: vec4<u32>, unit: u32) {
    let head = unit / $UNITS;
    if head >= params.heads {
        return;
    }
    let first = unit % $UNITS * kv_QUADS;
    let given = params.$offset + row * params.$stride + (head * $QUADS + first) * 4u;
    var quads: array<vec4<f32>, kv_QUADS>;
    for (var quad = 0u; quad < min(kv_QUADS, $QUADS - first); quad++) {
        let at = given + quad * 4u;
        quads[quad] = vec4<f32>($given[at], $given[at + 1u], $given[at + 2u], $given[at + 3u]);
    }
    var words = kv_encode(quads);
    let first_word = unit % $UNITS * kv_WORDS;
    let cached = pages_place(token.z, token.y, head, params.heads) * $WORDS + first_word;
    for (var word = 0u; word < min(kv_WORDS, $WORDS - first_word); word++) {
        $cached[cached + word] = words[word];
    }
}

// Values in memory of their own.
@group(0) @binding(5) var<storage, read> values: array<f32>; // [tokens, kv_heads, 4 * VALUE_QUADS]
@group(0) @binding(6) var<storage, read_write> cached_values: array<KvQuad>; // [pages, heads, PAGE_TOKENS, VALUE_QUADS]

// Writes a quad of a token's values of this shard's heads.
fn $write(row: u32, token: vec4<u32>, quad: u32) {
    if quad >= params.heads * VALUE_QUADS {
        return;
    }
    let at = pages_place(token.z, token.y, quad / VALUE_QUADS, params.heads) * VALUE_QUADS + quad % VALUE_QUADS;
    let value = params.values_offset + row * params.values_stride + quad * 4u;
    cached_values[at] = kv_encode(vec4<f32>(values[value], values[value + 1u], values[value + 2u], values[value + 3u]));
}

// Writes each token's keys and values of this shard's heads at its place in the pages. One invocation for each quad of the wider.
#import kv

struct Params {
    heads: u32, // KV heads of this shard
    pages_per_sequence: u32,
    keys_offset: u32, // with the shard's first head
    keys_stride: u32,
    values_offset: u32, // with the shard's first head
    values_stride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> tokens: array<vec4<u32>>; // [tokens] of id, position, sequence, 1 in a long one
@group(0) @binding(2) var<storage, read> pages: array<u32>; // [sequences, pages_per_sequence]
@group(0) @binding(3) var<storage, read> keys: array<f32>; // [tokens, kv_heads, 4 * KEY_QUADS]
@group(0) @binding(4) var<storage, read_write> cached_keys: array<KvQuad>; // [pages, heads, PAGE_TOKENS, KEY_QUADS]

#import pages
#import values

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let token = tokens[id.y];
    values_write(id.y, token, id.x);
    if id.x >= params.heads * KEY_QUADS {
        return;
    }
    let at = pages_place(token.z, token.y, id.x / KEY_QUADS, params.heads) * KEY_QUADS + id.x % KEY_QUADS;
    let key = params.keys_offset + id.y * params.keys_stride + id.x * 4u;
    cached_keys[at] = kv_encode(vec4<f32>(keys[key], keys[key + 1u], keys[key + 2u], keys[key + 3u]));
}

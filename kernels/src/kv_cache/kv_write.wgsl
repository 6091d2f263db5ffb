// Writes each token's keys and values of this shard's heads at its place in the pages. One invocation for each unit of the wider: the
// quads of a head that are stored together.
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

#import pages
#import keys
#import values

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    keys_write(id.y, tokens[id.y], id.x);
    values_write(id.y, tokens[id.y], id.x);
}

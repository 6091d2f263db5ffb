// Writes each token's keys and values of this shard's heads at its place in the pages. One invocation for each unit of the wider: the
// quads of a head that are stored together.
#import kv

#import pages
#import keys
#import values

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    keys_write(id.y, tokens[id.y], id.x);
    values_write(id.y, tokens[id.y], id.x);
}

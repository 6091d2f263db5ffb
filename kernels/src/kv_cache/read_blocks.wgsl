// Reads a quad of a key, or of a value, whose words begin at a place. Quads of a block share a scale.

// That of the key's block: its quads are read in order, from the first on, so that a scale is read once.
var<private> key_scale: f32;

fn $key(at: u32, quad: u32) -> vec4<f32> {
    if quad % kv_BLOCK == 0u {
        key_scale = kv_scale(keys[at + kv_scale_at(quad)], quad);
    }
    return key_scale * kv_decode(keys[at + kv_bytes_at(quad)]);
}

// A quad of a key by itself.
fn $key_alone(at: u32, quad: u32) -> vec4<f32> {
    return kv_scale(keys[at + kv_scale_at(quad)], quad) * kv_decode(keys[at + kv_bytes_at(quad)]);
}

fn $value(at: u32, quad: u32) -> vec4<f32> {
    return kv_scale(values[at + kv_scale_at(quad)], quad) * kv_decode(values[at + kv_bytes_at(quad)]);
}

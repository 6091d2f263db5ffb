// Reads a quad of a key, or of a value, whose words begin at a place. Quads are stored each by itself.
fn $key(at: u32, quad: u32) -> vec4<f32> { return kv_decode(keys[at + quad]); }
fn $key_alone(at: u32, quad: u32) -> vec4<f32> { return $key(at, quad); }
fn $value(at: u32, quad: u32) -> vec4<f32> { return kv_decode(values[at + quad]); }

// Keys and values in single precision.
alias KvQuad = vec4<f32>;

fn $encode(quad: vec4<f32>) -> KvQuad { return quad; }
fn $decode(quad: KvQuad) -> vec4<f32> { return quad; }

enable f16;
// Weights in a tile as f16, in which the elements of a block of 32 before its scale are exact.
alias TileQuad = vec4<f16>;

fn $pack(quad: vec4<f32>) -> TileQuad { return vec4<f16>(quad); }
fn $unpack(quad: TileQuad) -> vec4<f32> { return vec4<f32>(quad); }

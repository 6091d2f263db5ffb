enable f16;
// Weights in a tile as f16, in which codes with their offset are exact.
alias TileQuad = vec4<f16>;

fn $pack(codes: vec4<f32>, scale: f32, offset: f32, minimum: f32) -> TileQuad { return vec4<f16>(codes + vec4<f32>(offset)); }
fn $scale(scale: f32) -> f32 { return scale; }
fn $unpack(quad: TileQuad) -> vec4<f32> { return vec4<f32>(quad); }

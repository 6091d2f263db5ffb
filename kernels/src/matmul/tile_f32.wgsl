// Weights in a tile as f32.
alias TileQuad = vec4<f32>;

fn $pack(quad: vec4<f32>) -> TileQuad { return quad; }
fn $unpack(quad: TileQuad) -> vec4<f32> { return quad; }

// Weights in a tile as f32.
alias TileQuad = vec4<f32>;

fn $pack(codes: vec4<f32>, scale: f32, offset: f32, minimum: f32) -> TileQuad {
    return codes_elements(codes, scale, offset, minimum);
}
fn $scale(scale: f32) -> f32 { return 1.0; }
fn $unpack(quad: TileQuad) -> vec4<f32> { return quad; }

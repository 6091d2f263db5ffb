// Keys and values in half precision, without needing f16 of the device. Packing is undefined out of range, so it is bounded.
alias KvQuad = vec2<u32>;

fn $encode(quad: vec4<f32>) -> KvQuad {
    let bounded = clamp(quad, vec4<f32>(-65504.0), vec4<f32>(65504.0));
    return vec2<u32>(pack2x16float(bounded.xy), pack2x16float(bounded.zw));
}

fn $decode(quad: KvQuad) -> vec4<f32> {
    return vec4<f32>(unpack2x16float(quad.x), unpack2x16float(quad.y));
}

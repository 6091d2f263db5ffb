// The scale and the negative minimum of a block of 32, out of the vec4 that 8 blocks of 32 share: two half-precision numbers, and 6-bit
// factors of both, packed as ggml packs them.
fn $affine(head: vec4<u32>, block32: u32) -> vec2<f32> {
    let words = head.yzw >> vec3<u32>((block32 & 3u) * 8u);
    let first = words.xy & vec2<u32>(63u);
    let last = (vec2<u32>(words.z, words.z >> 4u) & vec2<u32>(15u)) | ((words.xy >> vec2<u32>(2u)) & vec2<u32>(48u));
    let factors = select(first, last, vec2<bool>((block32 & 4u) == 4u));
    return unpack2x16float(head.x) * vec2<f32>(factors) * vec2<f32>(1.0, -1.0);
}


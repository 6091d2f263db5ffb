// The scale, the offset and the minimum of a group: two numbers in bfloat16.
fn $affine(plane: u32, group: u32) -> vec3<f32> {
    let word = $word(plane, group);
    return vec3<f32>(bitcast<f32>(word << 16u), 0.0, bitcast<f32>(word & 0xffff0000u));
}


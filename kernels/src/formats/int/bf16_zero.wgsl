// The scale, the offset and the minimum of a group: a scale in bfloat16 and a zero.
fn $affine(plane: u32, group: u32) -> vec3<f32> {
    let word = $word(plane, group);
    return vec3<f32>(bitcast<f32>(word << 16u), -f32((word >> 16u) & 255u), 0.0);
}


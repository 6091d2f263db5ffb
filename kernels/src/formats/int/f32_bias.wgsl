// The scale, the offset and the minimum of a group: two numbers in single precision.
fn $affine(plane: u32, group: u32) -> vec3<f32> {
    return vec3<f32>(bitcast<f32>($word(plane, group * 2u)), 0.0, bitcast<f32>($word(plane, group * 2u + 1u)));
}


// A group's scale, then what its codes are multiplied by and what is added to that: two numbers in single precision.
fn $affine(plane: u32, group: u32) -> vec3<f32> {
    return vec3<f32>(1.0, bitcast<f32>($word(plane, group * 2u)), bitcast<f32>($word(plane, group * 2u + 1u)));
}


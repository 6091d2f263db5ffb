// A group's scale, then what its codes are multiplied by and what is added to that: two numbers in half precision.
fn $affine(plane: u32, group: u32) -> vec3<f32> {
    return vec3<f32>(1.0, unpack2x16float($word(plane, group)));
}


// A group's scale, then what its codes are multiplied by and what is added to that: two numbers in bfloat16.
fn $affine(plane: u32, group: u32) -> vec3<f32> {
    let word = $word(plane, group);
    return vec3<f32>(1.0, bitcast<f32>(word << 16u), bitcast<f32>(word & 0xffff0000u));
}


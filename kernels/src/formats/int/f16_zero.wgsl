// A group's scale, then what its codes are multiplied by and what is added to that: a scale in half precision and a zero.
fn $affine(plane: u32, group: u32) -> vec3<f32> {
    let word = $word(plane, group);
    return vec3<f32>(unpack2x16float(word).x, 1.0, -f32((word >> 16u) & 255u));
}


// The scale, the offset and the minimum of a group: two numbers in half precision.
fn $affine(plane: u32, group: u32) -> vec3<f32> {
    let pair = unpack2x16float($word(plane, group));
    return vec3<f32>(pair.x, 0.0, pair.y);
}


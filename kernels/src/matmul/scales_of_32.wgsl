// A block of 32 has one scale, and one shift.
fn $product(weight: Block, x: Block) -> f32 {
    let dots = dot4I8Packed(weight.first.x, x.first.x) + dot4I8Packed(weight.first.y, x.first.y)
        + dot4I8Packed(weight.first.z, x.first.z) + dot4I8Packed(weight.first.w, x.first.w)
        + dot4I8Packed(weight.second.x, x.second.x) + dot4I8Packed(weight.second.y, x.second.y)
        + dot4I8Packed(weight.second.z, x.second.z) + dot4I8Packed(weight.second.w, x.second.w);
    return weight.numbers.x * x.numbers.x * f32(dots) + weight.numbers.z * (x.numbers.y + x.numbers.z);
}

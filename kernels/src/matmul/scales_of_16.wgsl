// Each half of a block of 32 has a scale and a shift.
fn $dots(weight: vec4<u32>, x: vec4<u32>) -> f32 {
    return f32(dot4I8Packed(weight.x, x.x) + dot4I8Packed(weight.y, x.y) + dot4I8Packed(weight.z, x.z) + dot4I8Packed(weight.w, x.w));
}

fn $product(weight: Block, x: Block) -> f32 {
    let dots = weight.numbers.x * $dots(weight.first, x.first) + weight.numbers.y * $dots(weight.second, x.second);
    return x.numbers.x * dots + weight.numbers.z * x.numbers.y + weight.numbers.w * x.numbers.z;
}

// Later passes read the pairs that the pass before left.
fn $value(row: u32, element: u32) -> f32 {
    return bitcast<f32>(input[params.input_offset + row * params.input_stride + 2u * element]);
}

fn $second(row: u32, element: u32) -> u32 {
    return input[params.input_offset + row * params.input_stride + 2u * element + 1u];
}

const FIRST_PASS: bool = false;

// The first pass reads logits; an element's id is its place.
fn $value(row: u32, element: u32) -> f32 {
    return bitcast<f32>(input[params.input_offset + row * params.input_stride + element]);
}

fn $second(row: u32, element: u32) -> u32 {
    return element;
}

const FIRST_PASS: bool = true;

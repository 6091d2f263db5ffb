// A pass that is not the last leaves pairs.
fn $write(row: u32, place: u32, value: f32, second: u32) {
    let at = params.output_offset + row * params.output_stride + 2u * place;
    output[at] = bitcast<u32>(value);
    output[at + 1u] = second;
}

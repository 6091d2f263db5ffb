// The last pass of the top k leaves ids, then logits.
fn $write(row: u32, place: u32, value: f32, second: u32) {
    let at = params.output_offset + row * params.output_stride + place;
    output[at] = second;
    output[at + COUNT] = bitcast<u32>(value);
}

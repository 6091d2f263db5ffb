// The last pass of a fold leaves what the pair stands for.
fn $write(row: u32, place: u32, value: f32, second: u32) {
    output[params.output_offset + row * params.output_stride] = monoid_finish(value, second);
}

// No shared expert, or one that the addend holds already.
struct Params {
    width: u32,
    slots: u32,
    results_offset: u32,
    results_stride: u32,
    routes_offset: u32,
    routes_stride: u32,
    addend_offset: u32,
    addend_stride: u32,
    output_offset: u32,
    output_stride: u32,
}

fn $of(row: u32, column: u32) -> f32 {
    return 0.0;
}

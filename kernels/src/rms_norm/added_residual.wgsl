// The norm is added to the residual.
fn $to(normed: numbers_Element, row: u32, step: u32) -> numbers_Element {
    return normed + residual[params.residual_offset + row * params.residual_stride + step];
}

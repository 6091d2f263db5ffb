// The norm is the result.
fn $to(normed: numbers_Element, row: u32, step: u32) -> numbers_Element {
    return normed;
}

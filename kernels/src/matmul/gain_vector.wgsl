// Each element of a normalised row is multiplied by a gain; after a row's end the input counts as 0.
fn $quad(quad: u32) -> vec4<f32> {
    return gain[min(quad, (params.width - 1u) / 4u)];
}

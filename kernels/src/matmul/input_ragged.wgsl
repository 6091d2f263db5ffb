// Rows of input that end within a block32: what lies after their end counts as 0, whatever it is.
fn $quad(row: u32, quad: u32) -> vec4<f32> {
    let columns = vec4<u32>(quad * 4u) + vec4<u32>(0u, 1u, 2u, 3u);
    // After the last slot's end there may be nothing to read.
    let values = input[batch_input(row) + min(quad, (params.width - 1u) / 4u)];
    return select(vec4<f32>(0.0), values, columns < vec4<u32>(params.width));
}

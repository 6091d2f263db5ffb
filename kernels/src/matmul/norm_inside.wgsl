// Rows of input are normalised: their squares are summed beside the products, which are scaled at the end.
const $SUMS: u32 = 1u;

fn $scale(squares: f32) -> f32 {
    return 1.0 / sqrt(squares / f32(params.width) + params.epsilon);
}

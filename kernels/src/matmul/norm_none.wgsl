// Rows of input are multiplied as they are.
const $SUMS: u32 = 0u;

fn $scale(squares: f32) -> f32 {
    return 1.0;
}

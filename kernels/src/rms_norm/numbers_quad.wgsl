// Rows are read four numbers at a time.
alias $Element = vec4<f32>;

fn $square(x: $Element) -> f32 {
    return dot(x, x);
}

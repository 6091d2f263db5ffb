// Rows are read number by number.
alias $Element = f32;

fn $square(x: $Element) -> f32 {
    return x * x;
}

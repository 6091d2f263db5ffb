// The maximum m and the sum of exp(x - m), whose logarithm is the log_sum_exp less m.
const $VALUE: f32 = -3.4028234e38;
const $SECOND: u32 = 0u; // the bits of 0.0

fn $lift(value: f32, second: u32) -> Pair {
    return Pair(value, select(second, bitcast<u32>(1.0), FIRST_PASS));
}

fn $join(a: Pair, b: Pair) -> Pair {
    let largest = max(a.value, b.value);
    let sum = bitcast<f32>(a.second) * exp(max(a.value - largest, -100.0)) + bitcast<f32>(b.second) * exp(max(b.value - largest, -100.0));
    return Pair(largest, bitcast<u32>(sum));
}

fn $finish(value: f32, second: u32) -> u32 {
    return bitcast<u32>(value + log(bitcast<f32>(second)));
}

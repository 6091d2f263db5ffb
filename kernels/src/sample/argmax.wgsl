// The larger value with its id, the lower id of equals. No number at all leaves the id 2^32 - 1.
const $VALUE: f32 = -3.4028234e38;
const $SECOND: u32 = 0xffffffffu;

fn $lift(value: f32, second: u32) -> Pair {
    return Pair(value, second);
}

fn $join(a: Pair, b: Pair) -> Pair {
    if b.value > a.value || (b.value == a.value && b.second < a.second) {
        return b;
    }
    return a;
}

fn $finish(value: f32, second: u32) -> u32 {
    return second;
}

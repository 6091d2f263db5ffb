// Sixteen lanes to a query: the largest and the sum of what those from the first on gave.
fn $max(first: u32) -> f32 {
    var largest = lane_values[first];
    for (var lane = 1u; lane < LANES; lane++) {
        largest = max(largest, lane_values[first + lane]);
    }
    return largest;
}

fn $sum(first: u32) -> f32 {
    var sum = 0.0;
    for (var lane = 0u; lane < LANES; lane++) {
        sum += lane_values[first + lane];
    }
    return sum;
}

// Four lanes to a query: the largest and the sum of what those from the first on gave.
fn $max(first: u32) -> f32 {
    return max(
        max(lane_values[first], lane_values[first + 1u]),
        max(lane_values[first + 2u], lane_values[first + 3u]),
    );
}

fn $sum(first: u32) -> f32 {
    return lane_values[first] + lane_values[first + 1u] + lane_values[first + 2u] + lane_values[first + 3u];
}

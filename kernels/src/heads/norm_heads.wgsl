// Each head is normalised by itself.
fn $scale(given: u32, lane: Lane) -> f32 {
    var squares = 0.0;
    for (var element = lane.index; element < HEAD_WIDTH; element += WORKGROUP) {
        let x = input[given + element];
        squares += x * x;
    }
    return 1.0 / sqrt(workgroup_sum(squares, lane) / f32(HEAD_WIDTH) + params.epsilon);
}

fn $gain(place: u32, element: u32) -> f32 {
    return gain[place * HEAD_WIDTH + element];
}

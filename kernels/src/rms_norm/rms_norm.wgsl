// output = input / sqrt(mean(input²) + epsilon) * weight, one workgroup for each group of a row.
#import reduce

fn run(group: vec3<u32>, groups: vec3<u32>, lane: Lane) {
    let input_row = params.input_offset + group.y * params.input_stride + group.x * params.width;
    var squares = 0.0;
    for (var column = lane.index; column < params.width; column += WORKGROUP) {
        let x = input[input_row + column];
        squares += x * x;
    }
    let mean = workgroup_sum(squares, lane) / f32(params.width);
    let scale = 1.0 / sqrt(mean + params.epsilon);
    let output_row = params.output_offset + group.y * params.output_stride + group.x * params.width;
    for (var column = lane.index; column < params.width; column += WORKGROUP) {
        output[output_row + column] = input[input_row + column] * scale * weight[group.x * params.width + column];
    }
}

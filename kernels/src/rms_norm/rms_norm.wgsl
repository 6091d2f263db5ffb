// output = input / sqrt(mean(input²) + epsilon) * weight, one workgroup for each group of a row.
#import reduce

#import numbers

fn run(group: vec3<u32>, groups: vec3<u32>, lane: Lane) {
    let input_row = params.input_offset + group.y * params.input_stride + group.x * params.steps;
    var squares = 0.0;
    for (var step = lane.index; step < params.steps; step += WORKGROUP) {
        squares += numbers_square(input[input_row + step]);
    }
    let mean = workgroup_sum(squares, lane) / f32(params.width);
    let scale = 1.0 / sqrt(mean + params.epsilon);
    let output_row = params.output_offset + group.y * params.output_stride + group.x * params.steps;
    for (var step = lane.index; step < params.steps; step += WORKGROUP) {
        output[output_row + step] = input[input_row + step] * scale * weight[group.x * params.steps + step];
    }
}

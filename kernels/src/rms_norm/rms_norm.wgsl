// output = input / sqrt(mean(input²) + epsilon) * weight, and perhaps a residual; one workgroup for each group of a row.
#import reduce

#import numbers

#import added

fn run(group: vec3<u32>, groups: vec3<u32>, lane: Lane) {
    let first_step = group.x * params.steps;
    let input_row = params.input_offset + group.y * params.input_stride + first_step;
    var squares = 0.0;
    for (var step = lane.index; step < params.steps; step += WORKGROUP) {
        squares += numbers_square(input[input_row + step]);
    }
    let mean = workgroup_sum(squares, lane) / f32(params.width);
    let scale = 1.0 / sqrt(mean + params.epsilon);
    let output_row = params.output_offset + group.y * params.output_stride + first_step;
    for (var step = lane.index; step < params.steps; step += WORKGROUP) {
        let normed = input[input_row + step] * scale * weight[first_step + step];
        output[output_row + step] = added_to(normed, group.y, first_step + step);
    }
}

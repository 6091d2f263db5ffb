// output = input * (1 + growth * ln(1 + position / span)), position / span being whole: each row by its token's position.
#import grid

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let column = spread_index(group, groups) * WORKGROUP + index;
    if column < params.width {
        let spans = tokens[group.y].y / params.span;
        let factor = 1.0 + params.growth * log(f32(1u + spans));
        output[params.output_offset + group.y * params.output_stride + column] =
            factor * input[params.input_offset + group.y * params.input_stride + column];
    }
}

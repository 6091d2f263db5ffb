// Matrix times COLUMNS rows of input: a subgroup of lanes goes along two rows of the weight and adds up.
#import block32
#import grid
#import reduce

#import row
#import batch
#import weight
#import input
#import bias
#import finish

fn input_block32(row: u32, block32: u32) -> Block32 {
    let quad = block32 * 8u;
    return Block32(
        1.0,
        mat4x4<f32>(input_quad(row, quad), input_quad(row, quad + 1u), input_quad(row, quad + 2u), input_quad(row, quad + 3u)),
        mat4x4<f32>(input_quad(row, quad + 4u), input_quad(row, quad + 5u), input_quad(row, quad + 6u), input_quad(row, quad + 7u)),
    );
}

fn block32_dot(weight: Block32, x: Block32) -> f32 {
    let low = dot(weight.low[0], x.low[0]) + dot(weight.low[1], x.low[1]) + dot(weight.low[2], x.low[2]) + dot(weight.low[3], x.low[3]);
    let high = dot(weight.high[0], x.high[0]) + dot(weight.high[1], x.high[1]) + dot(weight.high[2], x.high[2]) + dot(weight.high[3], x.high[3]);
    return weight.scale * (low + high);
}

fn run(group: vec3<u32>, groups: vec3<u32>, lane: Lane) {
    let blocks32 = (params.width + 31u) / 32u;
    let first_input = batch_offset(group.y, groups.y, 0u);
    let group_first = spread_index(group, groups) * GROUP_ROWS;
    let group_last = min(group_first + GROUP_ROWS, params.rows);
    for (var first = group_first + subgroup_index(lane) * SUBGROUP_ROWS; first < group_last; first += subgroup_count(lane) * SUBGROUP_ROWS) {
        if !row_in_shard(first) && !row_in_shard(first + 1u) {
            continue;
        }
        let first_row = row_at(first);
        let second_row = row_at(first + 1u);
        var first_sums: array<f32, COLUMNS>;
        var second_sums: array<f32, COLUMNS>;
        for (var block32 = subgroup_lane(lane); block32 < blocks32; block32 += subgroup_size(lane)) {
            let first_weight = weight_decode(first_row * params.row_stride, blocks32, block32);
            let second_weight = weight_decode(second_row * params.row_stride, blocks32, block32);
            for (var column = 0u; column < COLUMNS; column++) {
                let x = input_block32(first_input + column, block32);
                first_sums[column] += block32_dot(first_weight, x);
                second_sums[column] += block32_dot(second_weight, x);
            }
        }
        for (var column = 0u; column < COLUMNS; column++) {
            let first_sum = subgroup_sum(first_sums[column], lane);
            let second_sum = subgroup_sum(second_sums[column], lane);
            if subgroup_lane(lane) == 0u {
                if row_in_shard(first) {
                    finish_write(first_input + column, first, first_sum);
                }
                if row_in_shard(first + 1u) {
                    finish_write(first_input + column, first + 1u, second_sum);
                }
            }
        }
    }
}

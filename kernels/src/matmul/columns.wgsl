// Matrix times COLUMNS rows of input: a team of lanes goes along two rows of the weight and adds up.
#import unit
#import grid
#import reduce

#import rows
#import places
#import weight
#import input
#import bias
#import finish

fn input_unit(row: u32, unit: u32) -> Unit {
    let quad = unit * 8u;
    return Unit(
        1.0,
        mat4x4<f32>(input_quad(row, quad), input_quad(row, quad + 1u), input_quad(row, quad + 2u), input_quad(row, quad + 3u)),
        mat4x4<f32>(input_quad(row, quad + 4u), input_quad(row, quad + 5u), input_quad(row, quad + 6u), input_quad(row, quad + 7u)),
    );
}

fn unit_dot(weight: Unit, x: Unit) -> f32 {
    let low = dot(weight.low[0], x.low[0]) + dot(weight.low[1], x.low[1]) + dot(weight.low[2], x.low[2]) + dot(weight.low[3], x.low[3]);
    let high = dot(weight.high[0], x.high[0]) + dot(weight.high[1], x.high[1]) + dot(weight.high[2], x.high[2]) + dot(weight.high[3], x.high[3]);
    return weight.scale * (low + high);
}

fn run(group: vec3<u32>, groups: vec3<u32>, lane: Lane) {
    let units = (params.width + 31u) / 32u;
    let first_input = places_begin(group.y, groups.y, 0u);
    let group_first = spread_index(group, groups) * GROUP_ROWS;
    let group_last = min(group_first + GROUP_ROWS, params.rows);
    for (var first = group_first + team_index(lane) * TEAM_ROWS; first < group_last; first += team_count(lane) * TEAM_ROWS) {
        if !rows_here(first) && !rows_here(first + 1u) {
            continue;
        }
        let first_row = rows_at(first);
        let second_row = rows_at(first + 1u);
        var first_sums: array<f32, COLUMNS>;
        var second_sums: array<f32, COLUMNS>;
        for (var unit = team_lane(lane); unit < units; unit += team_size(lane)) {
            let first_weight = weight_decode(first_row * params.row_stride, units, unit);
            let second_weight = weight_decode(second_row * params.row_stride, units, unit);
            for (var column = 0u; column < COLUMNS; column++) {
                let x = input_unit(first_input + column, unit);
                first_sums[column] += unit_dot(first_weight, x);
                second_sums[column] += unit_dot(second_weight, x);
            }
        }
        for (var column = 0u; column < COLUMNS; column++) {
            let first_sum = team_sum(first_sums[column], lane);
            let second_sum = team_sum(second_sums[column], lane);
            if team_lane(lane) == 0u {
                if rows_here(first) {
                    finish_write(first_input + column, first, first_sum);
                }
                if rows_here(first + 1u) {
                    finish_write(first_input + column, first + 1u, second_sum);
                }
            }
        }
    }
}

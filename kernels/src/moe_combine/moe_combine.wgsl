// output = addend + Σ share * result over slots, and what a shared expert gave, element by element.
#import shared

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let column = id.x;
    let row = id.y;
    if column >= params.width {
        return;
    }
    let result = params.results_offset + row * params.results_stride + column;
    let share = params.routes_offset + row * params.routes_stride + params.slots;
    var sum = addend[params.addend_offset + row * params.addend_stride + column] + shared_of(row, column);
    for (var slot = 0u; slot < params.slots; slot++) {
        sum += routes[share + slot] * results[result + slot * params.width];
    }
    output[params.output_offset + row * params.output_stride + column] = sum;
}

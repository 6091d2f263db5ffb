// Rows of input in signed bytes, once for all rows of the weight: one invocation takes a block of 32 and writes what rounded_blocks.wgsl says.
#import input
#import gain
#import rounded

// Where a row of input begins.
fn batch_input(row: u32) -> u32 {
    return params.input_offset + row * params.input_stride;
}

// What is smaller counts as nothing.
const SMALLEST: f32 = 1.0e-30;

fn bytes(numbers: vec4<f32>) -> u32 {
    return pack4xI8(vec4<i32>(round(numbers)));
}

fn sum(words: vec4<u32>) -> f32 {
    let ones = 0x01010101u;
    return f32(dot4I8Packed(words.x, ones) + dot4I8Packed(words.y, ones) + dot4I8Packed(words.z, ones) + dot4I8Packed(words.w, ones));
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let blocks32 = (params.width + 31u) / 32u;
    let row = id.y;
    if id.x >= blocks32 {
        return;
    }
    let quad = id.x * 8u;
    var numbers: array<vec4<f32>, 8>;
    var largest = vec4<f32>(SMALLEST);
    var squares = 0.0;
    for (var place = 0u; place < 8u; place++) {
        let elements = input_quad(row, quad + place);
        squares += dot(elements, elements);
        numbers[place] = elements * gain_quad(quad + place);
        largest = max(largest, abs(numbers[place]));
    }
    let scale = max(max(largest.x, largest.y), max(largest.z, largest.w)) / 127.0;
    let inverse = 1.0 / scale;
    let first = vec4<u32>(
        bytes(numbers[0] * inverse),
        bytes(numbers[1] * inverse),
        bytes(numbers[2] * inverse),
        bytes(numbers[3] * inverse),
    );
    let second = vec4<u32>(
        bytes(numbers[4] * inverse),
        bytes(numbers[5] * inverse),
        bytes(numbers[6] * inverse),
        bytes(numbers[7] * inverse),
    );
    let sums = scale * vec2<f32>(sum(first), sum(second));
    let block = row * blocks32 + id.x;
    activations[rounded_at(block, 0u)] = first;
    activations[rounded_at(block, 1u)] = second;
    activations[rounded_at(block, 2u)] = bitcast<vec4<u32>>(vec4<f32>(scale, sums, squares));
}

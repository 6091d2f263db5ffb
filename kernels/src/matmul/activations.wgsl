// Rows of input in signed bytes, once for all rows of the weight. One invocation takes a block of 32: eight words of bytes, the scale by which these
// were divided, and the scaled sums of both halves of the bytes, which offsets and minima are multiplied with.
#import input

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
    var largest = vec4<f32>(SMALLEST);
    for (var place = 0u; place < 8u; place++) {
        largest = max(largest, abs(input_quad(row, quad + place)));
    }
    let scale = max(max(largest.x, largest.y), max(largest.z, largest.w)) / 127.0;
    let first = vec4<u32>(
        bytes(input_quad(row, quad) / scale),
        bytes(input_quad(row, quad + 1u) / scale),
        bytes(input_quad(row, quad + 2u) / scale),
        bytes(input_quad(row, quad + 3u) / scale),
    );
    let second = vec4<u32>(
        bytes(input_quad(row, quad + 4u) / scale),
        bytes(input_quad(row, quad + 5u) / scale),
        bytes(input_quad(row, quad + 6u) / scale),
        bytes(input_quad(row, quad + 7u) / scale),
    );
    let at = (row * blocks32 + id.x) * 3u;
    activations[at] = first;
    activations[at + 1u] = second;
    activations[at + 2u] = vec4<u32>(bitcast<vec3<u32>>(scale * vec3<f32>(1.0, sum(first), sum(second))), 0u);
}

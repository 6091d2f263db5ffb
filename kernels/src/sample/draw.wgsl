// Draws one of the largest logits of each row: of the first few those that top-p and min-p leave, by the softmax. Whole numbers and
// correctly rounded operations alone, so that every device draws what `Draw::choose` does.

// log2(e) * 2^16: the scale of temperature 1.
const NATURAL: f32 = 94548.04;
const LARGEST: f32 = 3.4028234e38;
const ALL: u32 = 0xffffffffu;
const NO_ID: u32 = 0xffffffffu;

// Weights at temperature 1, of which top-p keeps a share, and those that are drawn by.
var<workgroup> natural: array<u32, COUNT>;
var<workgroup> weights: array<u32, COUNT>;

// 2^25 * 2^-x, with distance * scale for x in units of 2^-16.
fn weight(distance: f32, scale: f32) -> u32 {
    let x = u32(min(distance * scale, 2097151.0));
    let fraction = x & 0xffffu;
    let third = 3491u - ((fraction * 449u) >> 16u);
    let second = 15696u - ((fraction * third) >> 16u);
    let first = 45422u - ((fraction * second) >> 16u);
    return ((65536u - ((fraction * first) >> 16u)) << 9u) >> (x >> 16u);
}

// The upper half of a product.
fn high(a: u32, b: u32) -> u32 {
    let low = (a & 0xffffu) * (b & 0xffffu);
    let left = (a >> 16u) * (b & 0xffffu) + (low >> 16u);
    let right = (a & 0xffffu) * (b >> 16u) + (left & 0xffffu);
    return (a >> 16u) * (b >> 16u) + (left >> 16u) + (right >> 16u);
}

fn mix(bits: vec2<u32>, turn: u32) -> vec2<u32> {
    let sum = bits.x + bits.y;
    return vec2<u32>(sum, ((bits.y << turn) | (bits.y >> (32u - turn))) ^ sum);
}

fn mix_four(bits: vec2<u32>, turns: vec4<u32>, first_key: u32, second_key: u32) -> vec2<u32> {
    let mixed = mix(mix(mix(mix(bits, turns.x), turns.y), turns.z), turns.w);
    return mixed + vec2<u32>(first_key, second_key);
}

// The first 32 bits of this block of Threefry-2x32-20 (Salmon et al. 2011).
fn random(seed: vec2<u32>, number: u32) -> u32 {
    let third = 0x1bd11bdau ^ seed.x ^ seed.y;
    let odd = vec4<u32>(13u, 15u, 26u, 6u);
    let even = vec4<u32>(17u, 29u, 16u, 24u);
    var bits = vec2<u32>(number + seed.x, seed.y);
    bits = mix_four(bits, odd, seed.y, third + 1u);
    bits = mix_four(bits, even, third, seed.x + 2u);
    bits = mix_four(bits, odd, seed.x, seed.y + 3u);
    bits = mix_four(bits, even, seed.y, third + 4u);
    return mix_four(bits, odd, third, seed.x + 5u).x;
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let row = group.y;
    let kept = draws[2u * row];
    let chance = draws[2u * row + 1u];
    let ids = params.candidates_offset + row * params.candidates_stride;
    let largest = bitcast<f32>(candidates[ids + COUNT]);
    if index < COUNT {
        let distance = min(largest - bitcast<f32>(candidates[ids + COUNT + index]), LARGEST);
        let is_first = index < kept.y;
        natural[index] = select(0u, weight(distance, NATURAL), is_first);
        weights[index] = select(0u, weight(distance, bitcast<f32>(kept.x)), is_first && distance <= bitcast<f32>(kept.w));
    }
    workgroupBarrier();
    if index != 0u {
        return;
    }
    var sum = 0u;
    for (var place = 0u; place < COUNT; place++) {
        sum += natural[place];
    }
    // The candidate that completes the share is the last.
    let share = select(high(sum, kept.z), sum, kept.z == ALL);
    var end = 0u;
    var total = 0u;
    sum = 0u;
    while end < COUNT && sum <= share {
        sum += natural[end];
        total += weights[end];
        end++;
    }
    let drawn = high(total, random(chance.xy, chance.z));
    var place = 0u;
    sum = weights[0];
    while place + 1u < end && sum <= drawn {
        place++;
        sum += weights[place];
    }
    // A logit that is no number is the largest in the order, or missing from it.
    let is_number = (bitcast<u32>(largest) & 0x7f800000u) != 0x7f800000u && largest > -LARGEST;
    output[params.output_offset + row * params.output_stride] = select(NO_ID, candidates[ids + place], is_number);
}

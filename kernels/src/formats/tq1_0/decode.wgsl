// TQ1_0: a row is 3 vec4 of bytes of 5 ternary digits per 8 blocks of 32, then one word of bytes of 4, then one half-precision scale.
fn $power(digit: u32) -> u32 {
    return select((0x1b090301u >> (digit * 8u)) & 255u, 81u, digit == 4u);
}

// The digits of 16 bytes that follow where a power of 3 moves them to.
fn $quad(word: u32, power: u32) -> vec4<f32> {
    let bytes = vec4<u32>(word) >> vec4<u32>(0u, 8u, 16u, 24u);
    let digits = (((bytes * power) & vec4<u32>(255u)) * 3u) >> vec4<u32>(8u);
    return vec4<f32>(digits) - vec4<f32>(1.0);
}

fn $half_block32(words: vec4<u32>, powers: vec4<u32>) -> mat4x4<f32> {
    return mat4x4<f32>(
        $quad(words.x, powers.x),
        $quad(words.y, powers.y),
        $quad(words.z, powers.z),
        $quad(words.w, powers.w),
    );
}

fn $decode(row: u32, blocks32: u32, block32: u32) -> Block32 {
    let super_block = block32 >> 3u;
    let place = block32 & 7u;
    let fives = row + super_block * 3u;
    let fours = row + blocks32 / 8u * 3u;
    let scale = $half(fours + (blocks32 / 8u + 3u) / 4u, super_block);
    // Blocks32 0 to 4 are the digits of the first two vec4; of the rest, each half is a digit of the third.
    if place < 5u {
        let powers = vec4<u32>($power(place));
        return Block32(scale, $half_block32($words[fives], powers), $half_block32($words[fives + 1u], powers));
    }
    let third = $words[fives + 2u];
    let low = $half_block32(third, vec4<u32>($power(place * 2u - 10u)));
    // The last half is the digits of a single word.
    if place == 7u {
        return Block32(scale, low, $half_block32(vec4<u32>($word(fours, super_block)), vec4<u32>(1u, 3u, 9u, 27u)));
    }
    return Block32(scale, low, $half_block32(third, vec4<u32>($power(place * 2u - 9u))));
}


// TQ1_0: a row is 3 vec4 of bytes of 5 ternary digits per 8 blocks of 32, then one word of bytes of 4, then one half-precision scale.
fn $power(digit: u32) -> u32 {
    return select((0x1b090301u >> (digit * 8u)) & 255u, 81u, digit == 4u);
}

// The digits of 4 bytes that follow where a power of 3 moves them to.
fn $digits(word: u32, power: u32) -> vec4<f32> {
    let bytes = vec4<u32>(word) >> vec4<u32>(0u, 8u, 16u, 24u);
    return vec4<f32>((((bytes * power) & vec4<u32>(255u)) * 3u) >> vec4<u32>(8u));
}

// A quad of 16 elements.
fn $quad(fives: u32, fours: u32, half_block32: u32, quad: u32) -> vec4<f32> {
    // Of the 16 halves 0 to 9 are the digits of the first two vec4, 10 to 14 those of the third, the last those of a single word.
    if half_block32 < 10u {
        return $digits($words[fives + (half_block32 & 1u)][quad], $power(half_block32 >> 1u));
    }
    if half_block32 < 15u {
        return $digits($words[fives + 2u][quad], $power(half_block32 - 10u));
    }
    return $digits(fours, $power(quad));
}

fn $decode(row: u32, blocks32: u32, block32: u32, quarter: u32) -> Quarter {
    let super_block = block32 >> 3u;
    let fives = row + super_block * 3u;
    let plane = row + blocks32 / 8u * 3u;
    let fours = $word(plane, super_block);
    let half_block32 = (block32 & 7u) * 2u;
    return Quarter(
        vec2<f32>($half(plane + (blocks32 / 8u + 3u) / 4u, super_block)),
        vec2<f32>(-1.0),
        vec2<f32>(0.0),
        $quad(fives, fours, half_block32, quarter),
        $quad(fives, fours, half_block32 + 1u, quarter),
    );
}


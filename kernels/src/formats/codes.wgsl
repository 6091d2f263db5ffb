// Codes of 4 elements, one to a byte: the low and the high nibbles of a word, and the pairs of bits and single bits of one of its quads.
fn $low(nibbles: u32) -> u32 {
    return nibbles & 0x0f0f0f0fu;
}

fn $high(nibbles: u32) -> u32 {
    return (nibbles >> 4u) & 0x0f0f0f0fu;
}

fn $pairs(word: u32, quad: u32) -> u32 {
    return (word >> (quad * 2u)) & 0x03030303u;
}

fn $bits(word: u32, quad: u32) -> u32 {
    return (word >> quad) & 0x01010101u;
}

fn $numbers(codes: u32) -> Codes {
    return codes_of_bytes(codes);
}

// Two quads that are scaled alike: `scale * (code + offset) + minimum`.
fn $quarter(scale: f32, offset: f32, minimum: f32, first: u32, second: u32) -> Quarter {
    return Quarter(vec2<f32>(scale), vec2<f32>(offset), vec2<f32>(minimum), $numbers(first), $numbers(second));
}

// The same of 5 bits: nibbles, and a word of the block of 32's high bits.
fn $five_bits(scale: f32, offset: f32, minimum: f32, nibbles: u32, bits: u32, quarter: u32) -> Quarter {
    let first = $low(nibbles) | ($bits(bits, quarter) << 4u);
    let second = $high(nibbles) | ($bits(bits, quarter + 4u) << 4u);
    return $quarter(scale, offset, minimum, first, second);
}

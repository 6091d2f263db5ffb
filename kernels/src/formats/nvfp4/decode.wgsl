// NVFP4: a row is one vec4 of nibbles per block of 32 (low nibbles first 16 elements), then one byte of scale per 16 elements.
fn $half_scale(byte: u32) -> f32 {
    let exponent = (byte >> 3u) & 15u;
    let mantissa = byte & 7u;
    let normal = bitcast<f32>(((exponent + 119u) << 23u) | (mantissa << 20u));
    let number = select(normal, f32(mantissa) / 1024.0, exponent == 0u);
    return select(number, 0.0, byte == 127u);
}

fn $decode(row: u32, blocks32: u32, block32: u32, quarter: u32) -> Quarter {
    let nibbles = $words[row + block32][quarter];
    let bytes = $word(row + blocks32, block32 >> 1u) >> ((block32 & 1u) * 16u);
    return Quarter(
        vec2<f32>($half_scale(bytes & 255u), $half_scale((bytes >> 8u) & 255u)),
        vec2<f32>(0.0),
        vec2<f32>(0.0),
        $value_quad(nibbles),
        $value_quad(nibbles >> 4u),
    );
}


// A row is one vec4 of nibbles per block of 32 (low nibbles first 16 elements), then the scales of the blocks in single precision. The
// numbers of the nibbles lie before the first row.
fn $number(code: u32) -> f32 {
    return bitcast<f32>($words[code >> 2u][code & 3u]);
}

fn $value_quad(nibbles: u32) -> vec4<f32> {
    let codes = (vec4<u32>(nibbles) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(15u);
    return vec4<f32>($number(codes.x), $number(codes.y), $number(codes.z), $number(codes.w));
}

fn $decode(row: u32, blocks32: u32, block32: u32, quarter: u32) -> Quarter {
    let codes = row + 4u; // after the numbers
    let nibbles = $words[codes + block32][quarter];
    let scale = bitcast<f32>($word(codes + blocks32, block32 / $GROUP_BLOCKS32));
    return $quarter(scale, $value_quad(nibbles), $value_quad(nibbles >> 4u));
}


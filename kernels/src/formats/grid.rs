//! Grids: the codes of several elements looked up together, by an index. Their numbers are ggml's (`ggml-common.h`), as
//! the Python package `gguf` packs them: an entry is 16 bits, the codes of 8 elements or of 4, the first in the lowest.
//!
//! On a device a grid lies before the first row of every shard, and `$entry` in grid.wgsl reads it.

/// The bytes of a grid from hexadecimal lines.
pub const fn from_hex<const BYTES: usize>(lines: &[u8]) -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    let (mut at, mut digits) = (0, 0);
    while at < lines.len() {
        if lines[at] != b'\n' {
            let digit = (lines[at] as char).to_digit(16).expect("hexadecimal digits");
            bytes[digits / 2] = bytes[digits / 2] << 4 | digit as u8;
            digits += 1;
        }
        at += 1;
    }
    assert!(digits == 2 * BYTES, "a grid has as many entries as its format says");
    bytes
}

/// An entry of a grid.
pub fn entry(grid: &[u8], index: usize) -> u16 {
    u16::from_le_bytes([grid[2 * index], grid[2 * index + 1]])
}

/// Seven signs, which are the lowest bits, and an eighth that makes their number even.
pub fn even(signs: u32) -> u8 {
    let seven = signs as u8 & 127;
    seven | (seven.count_ones() as u8) << 7
}

/// The elements of an entry: what its codes stand for, with a bit of sign each, times a scale.
pub fn decode(entry: u16, values: &[i8], signs: u8, scale: f32, elements: &mut [f32]) {
    let bits = 16 / elements.len();
    for (place, element) in elements.iter_mut().enumerate() {
        let value = values[usize::from(entry >> (place * bits) & ((1 << bits) - 1))];
        let sign = if signs >> place & 1 == 1 { -1 } else { 1 };
        *element = scale * f32::from(sign * value);
    }
}

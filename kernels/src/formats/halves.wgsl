// A block of 32 of 16-bit numbers is 4 vec4 of words, each word two numbers, the first in its low bits; `$quad` decodes two words.
fn $decode(row: u32, blocks32: u32, block32: u32, quarter: u32) -> Quarter {
    let words = $words[row + block32 * 4u + quarter];
    return $quarter(1.0, $quad(words.x, words.y), $quad(words.z, words.w));
}


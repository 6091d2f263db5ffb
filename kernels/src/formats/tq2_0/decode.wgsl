// TQ2_0: a row is 2 words of pairs of bits per unit, then one half-precision scale per 8 units.
fn $decode(row: u32, units: u32, unit: u32) -> Unit {
    return Unit(
        $half(row + units / 2u, unit >> 3u),
        $elements($pairs($word(row, unit * 2u)), 1.0, -1.0),
        $elements($pairs($word(row, unit * 2u + 1u)), 1.0, -1.0),
    );
}


// Integers of 8 bits: a row is 2 vec4 of bytes per unit, then the pairs of the groups.
fn $decode(row: u32, units: u32, unit: u32) -> Unit {
    let at = row + unit * 2u;
    let affine = $affine(row + units * 2u, unit / $GROUP_UNITS);
    return Unit(
        affine.x,
        $elements($words[at], affine.y, affine.z),
        $elements($words[at + 1u], affine.y, affine.z),
    );
}


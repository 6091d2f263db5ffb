// Elements i and i + rotated/2 are rotated together; after them, elements that are not rotated come in twos.
fn $elements(pair: u32, rotated: u32) -> vec2<u32> {
    if 2u * pair < rotated {
        return vec2<u32>(pair, pair + rotated / 2u);
    }
    return vec2<u32>(2u * pair, 2u * pair + 1u);
}

// Elements 2i and 2i+1 are rotated together: the elements of pair `pair` of a head whose first `rotated` elements are rotated.
fn $elements(pair: u32, rotated: u32) -> vec2<u32> {
    return vec2<u32>(2u * pair, 2u * pair + 1u);
}

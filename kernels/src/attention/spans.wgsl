// How the keys that a token sees are cut into spans: as many as there is memory for, or as few as leave SPAN keys to each.
struct Spans {
    // The first key.
    first: u32,
    // Keys of a span.
    length: u32,
    count: u32,
}

// Of a token that follows this many keys, itself among them.
fn $of(keys: u32) -> Spans {
    let seen = min(params.window, keys);
    let length = max((seen + params.spans - 1u) / params.spans, SPAN);
    return Spans(keys - seen, length, (seen + length - 1u) / length);
}

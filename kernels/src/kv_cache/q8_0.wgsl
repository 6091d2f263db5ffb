// Keys and values in blocks of 32 numbers along a head: a word of two blocks' scales in half precision, then their signed bytes, 4 to
// a word. A head's last words are left out where it has fewer numbers.
alias KvWord = u32;
const $BLOCK: u32 = 8u; // quads
const $QUADS: u32 = 16u; // that are stored together
const $WORDS: u32 = 17u; // that they become

// The bits of a positive number in half precision, to nearest and even. Made of integers, since packing may round either way.
fn $half(number: f32) -> u32 {
    let bits = bitcast<u32>(min(number, 65504.0));
    // Below the smallest normal number, 2^-14, halves are multiples of 2^-24.
    let small = u32(round(min(number, 1.0) * 16777216.0));
    return select((bits - 0x38000000u + 0xfffu + ((bits >> 13u) & 1u)) >> 13u, small, number < 0.00006103515625);
}

// The bytes nearest to a quad's numbers in units of a scale, away from zero where two are. A quotient may be off by a little on some
// devices, a byte then by one; products of a byte and a half with a scale are exact, so that comparing with them corrects it.
fn $bytes(quad: vec4<f32>, scale: f32) -> u32 {
    let magnitude = abs(quad);
    let inverse = select(0.0, 1.0 / scale, scale > 0.0);
    var steps = min(round(magnitude * inverse), vec4<f32>(127.0));
    steps -= select(vec4<f32>(0.0), vec4<f32>(1.0), magnitude < (steps - 0.5) * scale);
    steps += select(vec4<f32>(0.0), vec4<f32>(1.0), magnitude >= (steps + 0.5) * scale);
    return pack4xI8(vec4<i32>(sign(quad) * min(steps, vec4<f32>(127.0))));
}

fn $encode(given: array<vec4<f32>, $QUADS>) -> array<KvWord, $WORDS> {
    var quads = given;
    var words: array<KvWord, $WORDS>;
    for (var first = 0u; first < $QUADS; first += $BLOCK) {
        var largest = vec4<f32>(0.0);
        for (var quad = first; quad < first + $BLOCK; quad++) {
            largest = max(largest, abs(quads[quad]));
        }
        // The one product whose rounding is the device's: to nearest on all that are known, else a scale is now and then its neighbour.
        let half = $half(max(max(largest.x, largest.y), max(largest.z, largest.w)) * (1.0 / 127.0));
        words[0] |= half << (first / $BLOCK * 16u);
        // As it will be read.
        let scale = unpack2x16float(half).x;
        for (var quad = first; quad < first + $BLOCK; quad++) {
            words[1u + quad] = $bytes(quads[quad], scale);
        }
    }
    return words;
}

// Where in a head the scale of a quad lies, and its bytes.
fn $scale_at(quad: u32) -> u32 { return quad / $QUADS * $WORDS; }
fn $bytes_at(quad: u32) -> u32 { return quad + quad / $QUADS + 1u; }

fn $scale(word: KvWord, quad: u32) -> f32 {
    let scales = unpack2x16float(word);
    return select(scales.x, scales.y, quad % $QUADS >= $BLOCK);
}

fn $decode(word: KvWord) -> vec4<f32> {
    return vec4<f32>(unpack4xI8(word));
}

// The codes of a quad as signed bytes of a word, as integer dot products take them.
alias Codes = u32;

// Of bytes below 128.
fn $of_bytes(bytes: u32) -> Codes {
    return bytes;
}

fn $of_signed_bytes(bytes: u32) -> Codes {
    return bytes;
}

fn $of_integers(integers: vec4<i32>) -> Codes {
    return pack4xI8(integers);
}

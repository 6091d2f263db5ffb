// The codes of a quad as numbers.
alias Codes = vec4<f32>;

fn $of_bytes(bytes: u32) -> Codes {
    return vec4<f32>(unpack4xU8(bytes));
}

fn $of_signed_bytes(bytes: u32) -> Codes {
    return vec4<f32>(unpack4xI8(bytes));
}

fn $of_integers(integers: vec4<i32>) -> Codes {
    return vec4<f32>(integers);
}

fn $elements(codes: Codes, scale: f32, offset: f32, minimum: f32) -> vec4<f32> {
    return scale * (codes + vec4<f32>(offset)) + vec4<f32>(minimum);
}

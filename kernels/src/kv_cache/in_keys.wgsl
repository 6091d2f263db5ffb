// Values that are the first elements of keys: written with these.
fn $write(row: u32, token: vec4<u32>, unit: u32) {}

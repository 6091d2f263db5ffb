//! The model built into the program, so that a first run needs no download.

use crate::file::File;

static BYTES: &[u8] = include_bytes!("../demo/demo.gguf");

/// The demo model as a file in memory of this name.
pub(crate) fn file(name: &str) -> File {
    File::in_memory(name, BYTES)
}

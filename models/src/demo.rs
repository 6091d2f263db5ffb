//! The model built into the program, so that a first run needs no download.

use crate::checkpoint::DEMO;
use crate::file::File;

static BYTES: &[u8] = include_bytes!("../demo/demo.gguf");

/// The demo model as a file in memory.
pub(crate) fn file() -> File {
    File::in_memory(DEMO, BYTES)
}

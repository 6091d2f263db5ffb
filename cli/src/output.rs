//! Standard output, failures with their exit statuses, Ctrl-C, and the progress bar.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use plywood::Error;
use plywood::models::output::{self, Existing, NewFile};
use serde::Serialize;

use crate::flags::in_flags;

/// The exit status after Ctrl-C, as shells have it.
pub const INTERRUPTED: u8 = 130;

/// Why a command ended early.
pub enum Failure {
    /// The work failed: status 1.
    Work(String),
    /// Wrong usage: status 2.
    Usage(String),
    /// Ctrl-C: status 130.
    Interrupted,
    /// Whoever read standard output has gone: status 0, quietly.
    ClosedPipe,
}

/// The result of a command.
pub type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    /// Says what failed and gives the exit status.
    pub fn report(self) -> ExitCode {
        let (message, status) = match self {
            Failure::Work(message) => (message, 1),
            Failure::Usage(message) => (message, 2),
            Failure::Interrupted => return ExitCode::from(INTERRUPTED),
            Failure::ClosedPipe => return ExitCode::SUCCESS,
        };
        // Where standard error is closed too there is nobody to tell.
        _ = writeln!(io::stderr(), "ply: {}", in_flags(&message));
        ExitCode::from(status)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        match error {
            Error::Option { .. } | Error::NoAdapter { .. } => Failure::Usage(error.to_string()),
            Error::Cancelled | Error::Model(plywood::models::Error::Cancelled) => Failure::Interrupted,
            Error::Model(
                plywood::models::Error::OutputExists { .. }
                | plywood::models::Error::OutputIsInput { .. }
                | plywood::models::Error::UnmatchedPattern { .. },
            ) => Failure::Usage(error.to_string()),
            _ => Failure::Work(error.to_string()),
        }
    }
}

impl From<plywood::models::Error> for Failure {
    fn from(error: plywood::models::Error) -> Failure {
        Failure::from(Error::from(error))
    }
}

/// Writes to standard output at once.
pub fn print(text: &str) -> Outcome {
    let mut output = io::stdout().lock();
    output.write_all(text.as_bytes()).and_then(|()| output.flush()).map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::ClosedPipe,
        _ => Failure::Work(format!("standard output: {error}")),
    })
}

/// Writes one JSON value and a line end.
pub fn print_json(value: &impl Serialize) -> Outcome {
    let text = serde_json::to_string(value).map_err(|error| Failure::Work(format!("JSON: {error}")))?;
    print(&(text + "\n"))
}

/// Writes a file whole or not at all, unless it is one of `inputs`.
pub fn write_file(
    path: &Path,
    existing: Existing,
    inputs: &[PathBuf],
    content: impl FnOnce(&mut NewFile) -> io::Result<()>,
) -> Outcome {
    output::check(path, existing, inputs)?;
    let write = || {
        let mut file = NewFile::create(path, existing)?;
        content(&mut file)?;
        file.close()?.put_in_place()
    };
    write().map_err(|error: io::Error| Failure::Work(format!("{}: {error}", path.display())))
}

/// Tells a person something on standard error.
pub fn note(text: &str) {
    _ = writeln!(io::stderr(), "{}", in_flags(text));
}

/// What the first Ctrl-C does besides setting the flag.
static ACT: Mutex<Option<Box<dyn Fn() + Send>>> = Mutex::new(None);

/// Has the first Ctrl-C do something, in a thread of its own; at once, where it came already.
pub fn on_interrupt(act: impl Fn() + Send + 'static) {
    let pressed = interrupted();
    // Under the lock that the handler takes after setting the flag, so that one of the two acts.
    let mut place = ACT.lock().unwrap_or_else(PoisonError::into_inner);
    if pressed.load(Ordering::Relaxed) {
        act();
    }
    *place = Some(Box::new(act));
}

/// Whether Ctrl-C was pressed, or another signal asked for the end (SIGTERM, or SIGHUP of a closed terminal). From the first
/// call on, the first one sets it and the second ends the process.
pub fn interrupted() -> Arc<AtomicBool> {
    static FLAG: OnceLock<Arc<AtomicBool>> = OnceLock::new();
    let flag = FLAG.get_or_init(|| {
        let flag = Arc::new(AtomicBool::new(false));
        let pressed = Arc::clone(&flag);
        // None where a parent has signals ignored, as nohup does. Without a handler Ctrl-C ends the process, which will do.
        _ = ctrlc::try_set_handler(move || {
            if pressed.swap(true, Ordering::Relaxed) {
                std::process::exit(i32::from(INTERRUPTED));
            }
            if let Some(act) = &*ACT.lock().unwrap_or_else(PoisonError::into_inner) {
                act();
            }
        });
        flag
    });
    Arc::clone(flag)
}

/// A bar of the bytes that a model loads.
pub fn loading_bar(quiet: bool) -> impl FnMut(u64, u64) -> bool + Send + 'static {
    byte_bar(quiet, "loading")
}

/// A bar of bytes on standard error, when that is a terminal; what is done ends at Ctrl-C.
pub fn byte_bar(quiet: bool, what: &'static str) -> impl FnMut(u64, u64) -> bool + Send + 'static {
    let interrupted = interrupted();
    let bar = bar(quiet, "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}");
    bar.set_message(what);
    move |loaded, total| {
        bar.set_length(total);
        bar.set_position(loaded);
        if loaded >= total {
            bar.finish_and_clear();
        }
        !interrupted.load(Ordering::Relaxed)
    }
}

/// A bar of counted things on standard error, when that is a terminal.
pub fn counting_bar(quiet: bool, total: u64) -> ProgressBar {
    let bar = bar(quiet, "{msg} {wide_bar} {pos}/{len} {per_sec} {eta}");
    bar.set_length(total);
    bar
}

fn bar(quiet: bool, template: &str) -> ProgressBar {
    let shown = !quiet && io::stderr().is_terminal();
    let target = if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(0), target);
    // The templates are ours; a wrong one would show the default bar.
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

//! Cancelling what a session runs, from another thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Cancels what a session is running, from any thread.
///
/// A cancel applies to the call that is running: [`Session::evaluate`](crate::Session::evaluate),
/// [`Model::step`](crate::Model::step), or a [`Generation`](crate::Generation) from the call that returns it to its end, also between two
/// of its pieces. Where nothing runs it does nothing: it is forgotten when the next call begins.
///
/// It takes effect between two submissions to a GPU, which are cut to take a quarter of a second at most, and between two nodes of the
/// graph on the host. A step that other sessions share is finished, unless these are cancelled too; a call that waits for another session's
/// step ends when that step has ended.
///
/// ```no_run
/// # use plywood::{Model, Options, Sampling, StopReason};
/// # let model = Model::open("model.gguf", Options::default())?;
/// # let mut session = model.session()?;
/// let cancel = session.canceller();
/// let mut generation = session.generate("Once upon a time", Sampling::default())?;
/// std::thread::spawn(move || {
///     std::thread::sleep(std::time::Duration::from_secs(2));
///     cancel.cancel();
/// });
/// for piece in &mut generation {
///     print!("{}", piece?.text);
/// }
/// let was_cancelled = generation.stop_reason() == Some(StopReason::Cancelled);
/// # Ok::<(), plywood::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Ends what the session is running: a call with [`Error::Cancelled`](crate::Error::Cancelled), a generation with
    /// [`StopReason::Cancelled`](crate::StopReason::Cancelled) and the tokens that it has.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Forgets what was cancelled before, since a call begins.
    pub(crate) fn begin(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    /// Whether the call that runs was cancelled.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

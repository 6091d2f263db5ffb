//! What Ctrl-C does in a chat: it ends the answer under way, and not the program.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use plywood::Cancel;

use crate::output::{INTERRUPTED, interrupted, on_interrupt};

/// Knows whether an answer is under way.
pub struct Interrupt {
    answering: Arc<AtomicBool>,
}

/// An answer is under way while this lives.
pub struct Answering<'a>(&'a AtomicBool);

impl Interrupt {
    /// From now on Ctrl-C and other signals that ask for the end cancel answers. Where none is under way they end the program,
    /// but a Ctrl-C in a terminal that only came too late for an answer does nothing.
    pub fn new(cancel: Cancel, is_terminal: bool) -> Interrupt {
        let answering = Arc::new(AtomicBool::new(false));
        let (pressed, under_way) = (interrupted(), Arc::clone(&answering));
        let mode = terminal::Mode::now();
        on_interrupt(move || {
            if is_terminal {
                // So that the next one counts as the first again: a second ends the program.
                pressed.store(false, Ordering::Relaxed);
            }
            if under_way.load(Ordering::Relaxed) {
                cancel.cancel();
            } else if !is_terminal || terminal::is_raw() {
                mode.restore();
                std::process::exit(i32::from(INTERRUPTED));
            }
        });
        Interrupt { answering }
    }

    /// Says that an answer is under way.
    pub fn answering(&self) -> Answering<'_> {
        self.answering.store(true, Ordering::Relaxed);
        Answering(&self.answering)
    }
}

impl Drop for Answering<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// The mode of the terminal, which the line editor changes while it reads.
#[cfg(unix)]
mod terminal {
    use std::io::{self, IsTerminal, Write};

    use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};

    /// A mode; none where there is no terminal.
    pub struct Mode(Option<Termios>);

    impl Mode {
        pub fn now() -> Mode {
            Mode(tcgetattr(io::stdin()).ok())
        }

        /// Has the terminal as it was, if it is another way now.
        pub fn restore(&self) {
            if let Some(mode) = self.0.as_ref().filter(|_| is_raw()) {
                _ = tcsetattr(io::stdin(), SetArg::TCSANOW, mode);
                if io::stdout().is_terminal() {
                    // The line editor has pasted text bracketed.
                    _ = io::stdout().write_all(b"\x1b[?2004l\n");
                }
            }
        }
    }

    /// Whether the line editor reads, so that keys make no signals.
    pub fn is_raw() -> bool {
        tcgetattr(io::stdin()).is_ok_and(|mode| !mode.local_flags.contains(LocalFlags::ISIG))
    }
}

/// Elsewhere the console has its mode back by itself.
#[cfg(not(unix))]
mod terminal {
    pub struct Mode;

    impl Mode {
        pub fn now() -> Mode {
            Mode
        }

        pub fn restore(&self) {}
    }

    pub fn is_raw() -> bool {
        false
    }
}

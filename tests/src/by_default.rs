//! Runs a command to which signals do what they do by default, whatever the parent ignores: `nohup` ignores SIGHUP, and a script's
//! background jobs have SIGINT ignored, so that tests of Ctrl-C would wait in vain.
//!
//! `exec` keeps what is ignored and resets what is caught, so everything is caught first. The test itself could only do so for
//! itself, or with `unsafe` between fork and exec; `env --default-signal` is GNU's alone.

#[cfg(unix)]
fn main() {
    use std::os::unix::process::CommandExt;

    ctrlc::set_handler(|| {}).expect("signals can be caught");
    let mut words = std::env::args_os().skip(1);
    let program = words.next().expect("a command");
    let failed = std::process::Command::new(&program).args(words).exec();
    panic!("{}: {failed}", program.display());
}

#[cfg(not(unix))]
fn main() {
    panic!("signals are Unix's");
}

//! Runs the command line as a person would, under a time limit.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    /// Its status; `None` where a signal ended it.
    pub status: Option<i32>,
    /// What it wrote to standard output, if that was kept.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
    /// How long it ran.
    pub time: Duration,
}

/// Starts a command with its input and output piped, and to which signals do what they do by default.
pub fn spawn(command: &Command, stdout: Stdio) -> Child {
    let program = Path::new(command.get_program());
    let mut started = match cfg!(unix) {
        // It lies beside the program under test.
        true => Command::new(program.with_file_name("by-default")),
        false => Command::new(program),
    };
    started.args(cfg!(unix).then_some(program)).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => started.env(name, value),
            None => started.env_remove(name),
        };
    }
    started.current_dir(command.get_current_dir().unwrap_or(Path::new(".")));
    // Mesa complains on standard error where there is no such folder.
    started.env("XDG_RUNTIME_DIR", std::env::temp_dir());
    let child = started.stdin(Stdio::piped()).stdout(stdout).stderr(Stdio::piped()).spawn();
    child.unwrap_or_else(|error| panic!("{started:?}: {error}"))
}

/// Starts a command with an input, its output kept unless it goes elsewhere already.
pub fn start(command: &mut Command, input: &[u8], stdout: Stdio) -> Child {
    let mut child = spawn(command, stdout);
    let mut stdin = child.stdin.take().expect("it was piped");
    let input = input.to_vec();
    // A command that reads no input closes it; that is its right.
    std::thread::spawn(move || _ = stdin.write_all(&input));
    child
}

/// Waits for a command, but not for long; `watch` is called now and then while it runs, with its id and how many bytes it wrote to standard
/// error.
pub fn finish(mut child: Child, limit: Duration, mut watch: impl FnMut(u32, usize)) -> Ended {
    let begin = Instant::now();
    let said = Arc::new(AtomicUsize::new(0));
    let read = |stream: Option<Box<dyn Read + Send>>, count: Arc<AtomicUsize>| {
        std::thread::spawn(move || {
            let (mut bytes, mut piece) = (Vec::new(), [0; 4096]);
            if let Some(mut stream) = stream {
                while let Ok(length @ 1..) = stream.read(&mut piece) {
                    bytes.extend_from_slice(&piece[..length]);
                    count.store(bytes.len(), Ordering::Relaxed);
                }
            }
            String::from_utf8_lossy(&bytes).into_owned()
        })
    };
    let stdout = read(child.stdout.take().map(|stream| Box::new(stream) as _), Arc::default());
    let stderr = read(child.stderr.take().map(|stream| Box::new(stream) as _), Arc::clone(&said));
    let status: Option<ExitStatus> = loop {
        match child.try_wait().expect("a child can be waited for") {
            Some(status) => break Some(status),
            None if begin.elapsed() > limit => break None,
            None => watch(child.id(), said.load(Ordering::Relaxed)),
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    if status.is_none() {
        _ = child.kill();
        _ = child.wait();
    }
    let (stdout, stderr) = (stdout.join().expect("no panic"), stderr.join().expect("no panic"));
    let Some(status) = status else {
        panic!("it did not end within {limit:?}; it said:\n{stderr}");
    };
    Ended { status: status.code(), stdout, stderr, time: begin.elapsed() }
}

impl Ended {
    /// What is not as it should be: the status, words that standard error must hold, any sign of a panic.
    pub fn wrong(&self, status: i32, says: &[&str]) -> Option<String> {
        let missing: Vec<&&str> = says.iter().filter(|word| !self.stderr.contains(**word)).collect();
        let panicked = ["panicked", "RUST_BACKTRACE"].iter().any(|sign| self.stderr.contains(sign));
        let right = self.status == Some(status) && missing.is_empty() && !panicked;
        let Ended { status: found, stderr, .. } = self;
        (!right).then(|| format!("status {found:?} instead of {status}, {missing:?} not said in:\n{stderr}"))
    }
}

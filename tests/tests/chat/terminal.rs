//! A pseudo-terminal: keys go in, and a screen comes out.

use std::io::{Read, Write};
use std::num::NonZero;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};
use vt100::Parser;

/// Far more than anything here takes.
const LIMIT: Duration = Duration::from_secs(60);

const ROWS: NonZero<u16> = NonZero::new(40).expect("it is not zero");
const COLUMNS: NonZero<u16> = NonZero::new(100).expect("it is not zero");

/// The up arrow.
pub const UP: &str = "\x1b[A";

/// Ctrl-C and Ctrl-D.
pub const CONTROL_C: &str = "\x03";
pub const CONTROL_D: &str = "\x04";

/// A program in a terminal of its own.
pub struct Terminal {
    keys: Box<dyn Write + Send>,
    screen: Arc<Mutex<Parser>>,
    child: Box<dyn Child + Send + Sync>,
    _master: Box<dyn MasterPty + Send>,
}

impl Terminal {
    /// Runs a program in a folder.
    pub fn run(program: &str, arguments: &[&str], variables: &[(&str, &str)], folder: &Path) -> Terminal {
        let size = PtySize { rows: ROWS.get(), cols: COLUMNS.get(), pixel_width: 0, pixel_height: 0 };
        let pair = native_pty_system().openpty(size).expect("a pseudo-terminal");
        let mut command = CommandBuilder::new(program);
        command.args(arguments);
        command.cwd(folder);
        command.env("TERM", "xterm-256color");
        command.env("XDG_RUNTIME_DIR", std::env::temp_dir());
        command.env_remove("NO_COLOR");
        variables.iter().for_each(|(name, value)| command.env(name, value));
        let child = pair.slave.spawn_command(command).expect("it starts");
        let mut output = pair.master.try_clone_reader().expect("a reader");
        let screen = Arc::new(Mutex::new(Parser::new(ROWS, COLUMNS, 0)));
        let shown = Arc::clone(&screen);
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                shown.lock().expect("no panic").process(&bytes[..count]);
            }
        });
        let keys = pair.master.take_writer().expect("a writer");
        Terminal { keys, screen, child, _master: pair.master }
    }

    /// Presses keys.
    pub fn keys(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).and_then(|()| self.keys.flush()).expect("the terminal is there");
    }

    /// What the screen shows, without spaces at the ends of lines.
    pub fn text(&self) -> String {
        let screen = self.screen.lock().expect("no panic");
        let rows: Vec<String> = screen.screen().rows(0, COLUMNS.get()).map(|row| row.trim_end().to_string()).collect();
        rows.join("\n").trim_end().to_string()
    }

    /// Waits until the screen ends with a text.
    pub fn until(&self, end: &str) {
        self.wait(&format!("the end {end:?}"), |terminal| terminal.text().ends_with(end));
    }

    /// Waits until something holds.
    pub fn wait(&self, what: &str, holds: impl Fn(&Terminal) -> bool) {
        let begin = Instant::now();
        while !holds(self) {
            assert!(begin.elapsed() < LIMIT, "{what} did not come:\n{}", self.text());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Whether the first place where the screen shows a text is dimmed.
    pub fn is_dimmed(&self, text: &str) -> bool {
        let screen = self.screen.lock().expect("no panic");
        let found =
            screen.screen().rows(0, COLUMNS.get()).zip(0..).find_map(|(line, row)| Some((row, line.find(text)?)));
        let (row, column) = found.unwrap_or_else(|| panic!("{text:?} is not on the screen"));
        screen.screen().cell(row, column as u16).expect("it is on the screen").dim()
    }

    /// The id of the process.
    pub fn id(&self) -> u32 {
        self.child.process_id().expect("it has one")
    }

    /// Waits for the end of the program; gives its status.
    pub fn end(mut self) -> u32 {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                return status.exit_code();
            }
            if begin.elapsed() > LIMIT {
                _ = self.child.kill();
                panic!("it did not end:\n{}", self.text());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

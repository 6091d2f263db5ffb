//! The template engine in the settings of transformers (`chat_template_utils.py`), and the limits of a run.

use std::borrow::Cow;
use std::io;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::ValueKind;
use minijinja::{Environment, Error, ErrorKind, State, Value};

use super::python;

/// The longest text that a template may write, in bytes.
const OUTPUT: usize = 64 << 20;

/// Blocks that mark what a model wrote, for training; they render as their content.
const GENERATION: [(&str, &str); 2] = [("generation", "if true"), ("endgeneration", "endif")];

/// An engine without templates.
pub fn new() -> Environment<'static> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax.expect("the delimiters are the usual ones"));
    environment.set_unknown_method_callback(python::method);
    environment.set_formatter(|output, state, value| match python::float(value) {
        Some(text) => output.write_str(&text).map_err(Error::from),
        None => minijinja::escape_formatter(output, state, value),
    });
    environment.add_filter("tojson", python::to_json);
    environment.add_filter("string", |state: &State, value: &Value| match python::float(value) {
        Some(text) => Ok(text.into()),
        None => minijinja::filters::string(state, value),
    });
    // In Python nothing at all (None) has no items, and strings and dictionaries are sequences too.
    environment.add_test("iterable", |value: &Value| value.kind() != ValueKind::None && value.try_iter().is_ok());
    environment.add_test("sequence", |value: &Value| value.kind() != ValueKind::None && value.try_iter().is_ok());
    environment.add_test("callable", |value: &Value| value.kind() == ValueKind::Plain);
    environment.add_function("raise_exception", |message: Cow<'_, str>| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, message.into_owned()))
    });
    environment
}

/// The template with its generation blocks as blocks that the engine knows, on the same lines.
pub fn without_generation_blocks(text: &str) -> Cow<'_, str> {
    let mut result = Cow::Borrowed(text);
    for (name, replacement) in GENERATION {
        let mut rest = 0;
        while let Some(found) = result[rest..].find("{%") {
            let begin = rest + found + 2;
            let inner = result[begin..].find("%}").map_or(result.len(), |end| begin + end);
            let word = result[begin..inner].trim_matches(['-', '+']).trim();
            if word == name {
                let place = begin + result[begin..inner].find(name).unwrap_or(0);
                result.to_mut().replace_range(place..place + name.len(), replacement);
            }
            rest = begin;
        }
    }
    result
}

/// A text that stops growing at the limit.
#[derive(Default)]
pub struct Output {
    /// What was written.
    pub bytes: Vec<u8>,
}

impl io::Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > OUTPUT {
            return Err(io::Error::other(format!("it writes more than {OUTPUT} bytes")));
        }
        self.bytes.extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

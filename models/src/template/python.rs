//! What templates expect of Python: `json.dumps`, `strftime`, how floats are written, and methods of strings.

use std::borrow::Cow;
use std::fmt::Write;

use chrono::NaiveDateTime;
use minijinja::value::{Kwargs, Tuple, ValueKind, from_args};
use minijinja::{Error, ErrorKind, State, Value};
use minijinja_contrib::pycompat;

/// Values nested deeper than this are not written as JSON; Python stops at about a thousand.
const DEPTH: usize = 500;

fn invalid(reason: impl Into<Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidOperation, reason)
}

/// The time, spelled as Python's `strftime` does.
pub fn strftime(now: Option<NaiveDateTime>, format: &str) -> Result<String, Error> {
    let now = now.unwrap_or_else(|| chrono::Local::now().naive_local());
    let mut text = String::new();
    write!(text, "{}", now.format(format)).map_err(|_| invalid(format!("strftime_now does not know {format:?}")))?;
    Ok(text)
}

/// The text of a float as Python's `repr` has it: the shortest that reads back the same.
pub fn float(value: &Value) -> Option<String> {
    if value.kind() != ValueKind::Number || value.is_integer() {
        return None;
    }
    let number = f64::try_from(value.clone()).ok()?;
    if !number.is_finite() {
        return Some(
            if number.is_nan() {
                "nan"
            } else if number > 0.0 {
                "inf"
            } else {
                "-inf"
            }
            .into(),
        );
    }
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e')?;
    let exponent: i32 = exponent.parse().ok()?;
    Some(match exponent {
        -4..16 => format!("{number:?}"),
        _ => format!("{digits}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs()),
    })
}

/// How `json.dumps` lays out a value.
struct JsonStyle {
    ascii: bool,
    /// What each level is indented by.
    indent: Option<String>,
    separators: (String, String),
    sorted: bool,
}

/// The filter `tojson`, with the arguments that transformers gives it.
pub fn to_json(value: &Value, ascii: Option<bool>, indent: Option<Value>, options: Kwargs) -> Result<String, Error> {
    let indent: Option<Value> = indent.or(options.get("indent")?).filter(|indent| !indent.is_none());
    let indent = match indent {
        None => None,
        Some(text) if text.as_str().is_some() => Some(text.to_string()),
        Some(count) => {
            let count = usize::try_from(count).ok().filter(|count| *count <= 64);
            Some(" ".repeat(count.ok_or_else(|| invalid("tojson: indent must be a number up to 64, or a text"))?))
        }
    };
    let separators = match options.get::<Option<Value>>("separators")?.filter(|given| !given.is_none()) {
        None => (if indent.is_some() { "," } else { ", " }.to_owned(), ": ".to_owned()),
        Some(given) => {
            let part = |index| given.get_item_by_index(index).map(|part| part.to_string());
            (part(0)?, part(1)?)
        }
    };
    let ascii = ascii.or(options.get("ensure_ascii")?).unwrap_or(false);
    let sorted = options.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
    options.assert_all_used()?;
    let mut text = String::new();
    JsonStyle { ascii, indent, separators, sorted }.value(&mut text, value, 0)?;
    Ok(text)
}

impl JsonStyle {
    fn value(&self, text: &mut String, value: &Value, depth: usize) -> Result<(), Error> {
        if depth > DEPTH {
            return Err(invalid("tojson: the value is nested too deeply"));
        }
        match value.kind() {
            ValueKind::None => text.push_str("null"),
            ValueKind::Bool => text.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => text.push_str(&number(value)),
            ValueKind::String => self.string(text, value.as_str().unwrap_or_default()),
            ValueKind::Seq | ValueKind::Iterable => {
                let items = value.try_iter()?.map(|item| (None, item)).collect();
                self.container(text, ['[', ']'], items, depth)?;
            }
            ValueKind::Map => {
                let mut items = Vec::new();
                for key in value.try_iter()? {
                    let item = value.get_item(&key)?;
                    items.push((Some(key_text(&key)?), item));
                }
                if self.sorted {
                    items.sort_by(|a, b| a.0.cmp(&b.0));
                }
                self.container(text, ['{', '}'], items, depth)?;
            }
            other => return Err(invalid(format!("tojson: a value of type {other} cannot be JSON"))),
        }
        Ok(())
    }

    fn container(
        &self,
        text: &mut String,
        [open, close]: [char; 2],
        items: Vec<(Option<String>, Value)>,
        depth: usize,
    ) -> Result<(), Error> {
        let line = |text: &mut String, depth: usize| {
            if let Some(indent) = &self.indent {
                text.push('\n');
                text.extend(std::iter::repeat_n(indent.as_str(), depth));
            }
        };
        text.push(open);
        let empty = items.is_empty();
        for (index, (key, item)) in items.into_iter().enumerate() {
            if index > 0 {
                text.push_str(&self.separators.0);
            }
            line(text, depth + 1);
            if let Some(key) = key {
                self.string(text, &key);
                text.push_str(&self.separators.1);
            }
            self.value(text, &item, depth + 1)?;
        }
        if !empty {
            line(text, depth);
        }
        text.push(close);
        Ok(())
    }

    fn string(&self, text: &mut String, string: &str) {
        text.push('"');
        for character in string.chars() {
            match character {
                '"' => text.push_str("\\\""),
                '\\' => text.push_str("\\\\"),
                '\n' => text.push_str("\\n"),
                '\r' => text.push_str("\\r"),
                '\t' => text.push_str("\\t"),
                '\u{8}' => text.push_str("\\b"),
                '\u{c}' => text.push_str("\\f"),
                escaped if escaped < ' ' || (self.ascii && !escaped.is_ascii()) => {
                    for unit in escaped.encode_utf16(&mut [0; 2]) {
                        _ = write!(text, "\\u{unit:04x}");
                    }
                }
                plain => text.push(plain),
            }
        }
        text.push('"');
    }
}

fn number(value: &Value) -> String {
    match float(value) {
        None => value.to_string(),
        Some(text) => match text.as_str() {
            "nan" => "NaN".into(),
            "inf" => "Infinity".into(),
            "-inf" => "-Infinity".into(),
            _ => text,
        },
    }
}

fn key_text(key: &Value) -> Result<String, Error> {
    Ok(match key.kind() {
        ValueKind::String => key.to_string(),
        ValueKind::None => "null".into(),
        ValueKind::Bool => if key.is_true() { "true" } else { "false" }.into(),
        ValueKind::Number => number(key),
        other => return Err(invalid(format!("tojson: a value of type {other} cannot be a key"))),
    })
}

/// Methods of Python's strings, lists and dictionaries: those of minijinja-contrib and a few more.
pub fn method(state: &mut State, value: &Value, name: &str, arguments: &[Value]) -> Result<Value, Error> {
    let Some(text) = value.as_str() else { return pycompat::unknown_method_callback(state, value, name, arguments) };
    match name {
        "removeprefix" => {
            let (prefix,): (&str,) = from_args(arguments)?;
            Ok(text.strip_prefix(prefix).unwrap_or(text).into())
        }
        "removesuffix" => {
            let (suffix,): (&str,) = from_args(arguments)?;
            Ok(text.strip_suffix(suffix).unwrap_or(text).into())
        }
        "partition" => {
            let (separator,): (&str,) = from_args(arguments)?;
            Ok(parts(text.split_once(separator).map(|(before, after)| [before, separator, after]), [text, "", ""]))
        }
        "rpartition" => {
            let (separator,): (&str,) = from_args(arguments)?;
            Ok(parts(text.rsplit_once(separator).map(|(before, after)| [before, separator, after]), ["", "", text]))
        }
        "rsplit" => {
            let (separator, limit): (Option<&str>, Option<i64>) = from_args(arguments)?;
            let pieces = usize::try_from(limit.unwrap_or(-1)).map_or(usize::MAX, |limit| limit.saturating_add(1));
            let mut found: Vec<Value> = match separator {
                Some("") => return Err(invalid("empty separator")),
                Some(separator) => text.rsplitn(pieces, separator).map(Value::from).collect(),
                None if pieces == usize::MAX => text.split_whitespace().rev().map(Value::from).collect(),
                None => return Err(invalid("rsplit with a limit needs a separator")),
            };
            found.reverse();
            Ok(found.into())
        }
        _ => pycompat::unknown_method_callback(state, value, name, arguments),
    }
}

fn parts(found: Option<[&str; 3]>, otherwise: [&str; 3]) -> Value {
    Value::from(Tuple::from(found.unwrap_or(otherwise).map(Value::from)))
}

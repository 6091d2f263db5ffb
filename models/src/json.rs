//! JSON settings of Hugging Face directories, with getters that name the file and the key when a type is wrong.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::error::{Error, Result};
use crate::file::File;

/// The longest file of settings that is read, in bytes.
const LIMIT: u64 = 16 << 20;

/// A JSON object and the file it is from.
#[derive(Debug, Clone)]
pub struct Json {
    /// The file, for messages.
    pub file: PathBuf,
    /// The object.
    pub value: Value,
}

impl Json {
    /// Reads a file of settings; `None` where there is none.
    pub fn read(path: &Path) -> Result<Option<Json>> {
        if !path.exists() {
            return Ok(None);
        }
        let text = File::open(path)?.read_text(LIMIT)?;
        let value: Value = serde_json::from_str(&text).map_err(|error| Error::malformed(path, error.to_string()))?;
        if !value.is_object() {
            return Err(Error::malformed(path, "it does not hold a JSON object"));
        }
        Ok(Some(Json { file: path.into(), value }))
    }

    /// The value of a key, where it is there and not null.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.value.get(key).filter(|value| !value.is_null())
    }

    /// The object of a key as settings of their own.
    pub fn section(&self, key: &str) -> Result<Option<Json>> {
        self.typed(key, "an object", |value| {
            value.is_object().then(|| Json { file: self.file.clone(), value: value.clone() })
        })
    }

    /// A whole number that is not negative.
    pub fn integer(&self, key: &str) -> Result<Option<u64>> {
        self.typed(key, "a whole number", Value::as_u64)
    }

    /// A number.
    pub fn number(&self, key: &str) -> Result<Option<f64>> {
        self.typed(key, "a number", Value::as_f64)
    }

    /// A truth value.
    pub fn boolean(&self, key: &str) -> Result<Option<bool>> {
        self.typed(key, "true or false", Value::as_bool)
    }

    /// A string.
    pub fn text(&self, key: &str) -> Result<Option<&str>> {
        self.typed(key, "a string", Value::as_str)
    }

    /// One whole number or a list of them.
    pub fn integers(&self, key: &str) -> Result<Vec<u64>> {
        let numbers = self.typed(key, "a whole number or a list of them", |value| match value {
            Value::Array(values) => values.iter().map(Value::as_u64).collect(),
            value => value.as_u64().map(|number| vec![number]),
        })?;
        Ok(numbers.unwrap_or_default())
    }

    /// A list of numbers.
    pub fn numbers(&self, key: &str) -> Result<Option<Vec<f64>>> {
        self.typed(key, "a list of numbers", |value| value.as_array()?.iter().map(Value::as_f64).collect())
    }

    /// An error that says that a key is missing.
    pub fn missing(&self, key: &str) -> Error {
        Error::MissingKey { file: self.file.clone(), key: key.into() }
    }

    /// An error that says what a key has and what it should have.
    pub fn wrong(&self, key: &str, found: impl ToString, wanted: impl ToString) -> Error {
        Error::WrongValue {
            file: self.file.clone(),
            key: key.into(),
            found: found.to_string(),
            wanted: wanted.to_string(),
        }
    }

    fn typed<'a, T>(&'a self, key: &str, wanted: &str, read: impl FnOnce(&'a Value) -> Option<T>) -> Result<Option<T>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        read(value).map(Some).ok_or_else(|| self.wrong(key, value, wanted))
    }
}

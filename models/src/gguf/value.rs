//! The metadata of a GGUF file: values by key, and getters that name the key when its type is wrong.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

use super::cursor::Cursor;

/// How deep arrays may lie in arrays.
const DEPTH_LIMIT: usize = 4;

/// A metadata value.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "the variants are the types' names in the format's specification")]
pub enum Value {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    String(String),
    Array(Array),
    U64(u64),
    I64(i64),
    F64(f64),
}

/// An array of metadata values of one type.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "the variants are the types' names in the format's specification")]
pub enum Array {
    U8(Vec<u8>),
    I8(Vec<i8>),
    U16(Vec<u16>),
    I16(Vec<i16>),
    U32(Vec<u32>),
    I32(Vec<i32>),
    F32(Vec<f32>),
    Bool(Vec<bool>),
    String(Vec<String>),
    Array(Vec<Array>),
    U64(Vec<u64>),
    I64(Vec<i64>),
    F64(Vec<f64>),
}

impl Value {
    /// Its type's number in a file.
    pub(super) fn type_id(&self) -> u32 {
        match self {
            Value::U8(_) => 0,
            Value::I8(_) => 1,
            Value::U16(_) => 2,
            Value::I16(_) => 3,
            Value::U32(_) => 4,
            Value::I32(_) => 5,
            Value::F32(_) => 6,
            Value::Bool(_) => 7,
            Value::String(_) => 8,
            Value::Array(_) => 9,
            Value::U64(_) => 10,
            Value::I64(_) => 11,
            Value::F64(_) => 12,
        }
    }

    /// Reads a value of the type with this number.
    pub(super) fn read(cursor: &mut Cursor, type_id: u32) -> Result<Value> {
        Ok(match type_id {
            0 => Value::U8(u8::from_le_bytes(cursor.take()?)),
            1 => Value::I8(i8::from_le_bytes(cursor.take()?)),
            2 => Value::U16(u16::from_le_bytes(cursor.take()?)),
            3 => Value::I16(i16::from_le_bytes(cursor.take()?)),
            4 => Value::U32(u32::from_le_bytes(cursor.take()?)),
            5 => Value::I32(i32::from_le_bytes(cursor.take()?)),
            6 => Value::F32(f32::from_le_bytes(cursor.take()?)),
            7 => Value::Bool(cursor.take::<1>()? != [0]),
            8 => Value::String(cursor.string()?),
            9 => Value::Array(Array::read(cursor, 0)?),
            10 => Value::U64(u64::from_le_bytes(cursor.take()?)),
            11 => Value::I64(i64::from_le_bytes(cursor.take()?)),
            12 => Value::F64(f64::from_le_bytes(cursor.take()?)),
            other => return Err(cursor.malformed(format!("metadata type {other} does not exist"))),
        })
    }

    /// The number, if it is a whole one that is not negative.
    pub fn as_u64(&self) -> Option<u64> {
        match *self {
            Value::U8(number) => Some(number.into()),
            Value::U16(number) => Some(number.into()),
            Value::U32(number) => Some(number.into()),
            Value::U64(number) => Some(number),
            Value::I8(number) => u64::try_from(number).ok(),
            Value::I16(number) => u64::try_from(number).ok(),
            Value::I32(number) => u64::try_from(number).ok(),
            Value::I64(number) => u64::try_from(number).ok(),
            _ => None,
        }
    }

    /// The number, whole or not.
    pub fn as_f64(&self) -> Option<f64> {
        match *self {
            Value::F32(number) => Some(number.into()),
            Value::F64(number) => Some(number),
            Value::I8(number) => Some(number.into()),
            Value::I16(number) => Some(number.into()),
            Value::I32(number) => Some(number.into()),
            Value::I64(number) => Some(number as f64),
            _ => self.as_u64().map(|number| number as f64),
        }
    }
}

impl Array {
    /// Its elements' type's number in a file.
    pub(super) fn type_id(&self) -> u32 {
        match self {
            Array::U8(_) => 0,
            Array::I8(_) => 1,
            Array::U16(_) => 2,
            Array::I16(_) => 3,
            Array::U32(_) => 4,
            Array::I32(_) => 5,
            Array::F32(_) => 6,
            Array::Bool(_) => 7,
            Array::String(_) => 8,
            Array::Array(_) => 9,
            Array::U64(_) => 10,
            Array::I64(_) => 11,
            Array::F64(_) => 12,
        }
    }

    /// Elements.
    pub fn len(&self) -> usize {
        match self {
            Array::U8(elements) => elements.len(),
            Array::I8(elements) => elements.len(),
            Array::U16(elements) => elements.len(),
            Array::I16(elements) => elements.len(),
            Array::U32(elements) => elements.len(),
            Array::I32(elements) => elements.len(),
            Array::F32(elements) => elements.len(),
            Array::Bool(elements) => elements.len(),
            Array::String(elements) => elements.len(),
            Array::Array(elements) => elements.len(),
            Array::U64(elements) => elements.len(),
            Array::I64(elements) => elements.len(),
            Array::F64(elements) => elements.len(),
        }
    }

    /// Whether it has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements as whole numbers, if they are.
    pub fn as_u64s(&self) -> Option<Vec<u64>> {
        match self {
            Array::U8(elements) => Some(elements.iter().map(|element| u64::from(*element)).collect()),
            Array::U16(elements) => Some(elements.iter().map(|element| u64::from(*element)).collect()),
            Array::U32(elements) => Some(elements.iter().map(|element| u64::from(*element)).collect()),
            Array::U64(elements) => Some(elements.clone()),
            Array::I8(elements) => elements.iter().map(|element| u64::try_from(*element).ok()).collect(),
            Array::I16(elements) => elements.iter().map(|element| u64::try_from(*element).ok()).collect(),
            Array::I32(elements) => elements.iter().map(|element| u64::try_from(*element).ok()).collect(),
            Array::I64(elements) => elements.iter().map(|element| u64::try_from(*element).ok()).collect(),
            _ => None,
        }
    }

    fn read(cursor: &mut Cursor, depth: usize) -> Result<Array> {
        if depth == DEPTH_LIMIT {
            return Err(cursor.malformed(format!("metadata arrays are nested deeper than {DEPTH_LIMIT}")));
        }
        let type_id = cursor.u32()?;
        let count = cursor.u64()?;
        Ok(match type_id {
            0 => Array::U8(elements(cursor, count, 1, |cursor| Ok(u8::from_le_bytes(cursor.take()?)))?),
            1 => Array::I8(elements(cursor, count, 1, |cursor| Ok(i8::from_le_bytes(cursor.take()?)))?),
            2 => Array::U16(elements(cursor, count, 2, |cursor| Ok(u16::from_le_bytes(cursor.take()?)))?),
            3 => Array::I16(elements(cursor, count, 2, |cursor| Ok(i16::from_le_bytes(cursor.take()?)))?),
            4 => Array::U32(elements(cursor, count, 4, |cursor| Ok(u32::from_le_bytes(cursor.take()?)))?),
            5 => Array::I32(elements(cursor, count, 4, |cursor| Ok(i32::from_le_bytes(cursor.take()?)))?),
            6 => Array::F32(elements(cursor, count, 4, |cursor| Ok(f32::from_le_bytes(cursor.take()?)))?),
            7 => Array::Bool(elements(cursor, count, 1, |cursor| Ok(cursor.take::<1>()? != [0]))?),
            8 => Array::String(elements(cursor, count, 8, |cursor| cursor.string())?),
            9 => Array::Array(elements(cursor, count, 12, |cursor| Array::read(cursor, depth + 1))?),
            10 => Array::U64(elements(cursor, count, 8, |cursor| Ok(u64::from_le_bytes(cursor.take()?)))?),
            11 => Array::I64(elements(cursor, count, 8, |cursor| Ok(i64::from_le_bytes(cursor.take()?)))?),
            12 => Array::F64(elements(cursor, count, 8, |cursor| Ok(f64::from_le_bytes(cursor.take()?)))?),
            other => return Err(cursor.malformed(format!("metadata type {other} does not exist"))),
        })
    }
}

/// Reads `count` elements of at least `bytes` each in the file; that they can be there is checked first.
fn elements<T>(cursor: &mut Cursor, count: u64, bytes: u64, read: impl Fn(&mut Cursor) -> Result<T>) -> Result<Vec<T>> {
    let count = cursor.check_count("array elements", count, bytes)?;
    let mut elements = Vec::new();
    for _ in 0..count {
        elements.push(read(cursor)?);
    }
    Ok(elements)
}

/// As `ply inspect` prints it: arrays by their length.
impl fmt::Display for Value {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::U8(value) => value.fmt(formatter),
            Value::I8(value) => value.fmt(formatter),
            Value::U16(value) => value.fmt(formatter),
            Value::I16(value) => value.fmt(formatter),
            Value::U32(value) => value.fmt(formatter),
            Value::I32(value) => value.fmt(formatter),
            Value::F32(value) => value.fmt(formatter),
            Value::Bool(value) => value.fmt(formatter),
            Value::String(value) => write!(formatter, "{value:?}"),
            Value::Array(value) => write!(formatter, "array of {}", value.len()),
            Value::U64(value) => value.fmt(formatter),
            Value::I64(value) => value.fmt(formatter),
            Value::F64(value) => value.fmt(formatter),
        }
    }
}

/// The metadata of a GGUF file.
#[derive(Debug, Clone)]
pub struct Metadata {
    /// The file, for messages.
    pub file: PathBuf,
    /// Values by key.
    pub entries: BTreeMap<String, Value>,
}

impl Metadata {
    /// No entries yet.
    pub(super) fn new(file: &Path) -> Metadata {
        Metadata { file: file.into(), entries: BTreeMap::new() }
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.entries.get(key)
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
        self.typed(key, "true or false", |value| match value {
            Value::Bool(value) => Some(*value),
            _ => None,
        })
    }

    /// A string.
    pub fn text(&self, key: &str) -> Result<Option<&str>> {
        self.typed(key, "a string", |value| match value {
            Value::String(value) => Some(value.as_str()),
            _ => None,
        })
    }

    /// An array of strings.
    pub fn texts(&self, key: &str) -> Result<Option<&[String]>> {
        self.typed(key, "an array of strings", |value| match value {
            Value::Array(Array::String(values)) => Some(values.as_slice()),
            _ => None,
        })
    }

    /// An array of single-precision numbers.
    pub fn numbers(&self, key: &str) -> Result<Option<&[f32]>> {
        self.typed(key, "an array of numbers", |value| match value {
            Value::Array(Array::F32(values)) => Some(values.as_slice()),
            _ => None,
        })
    }

    /// An array of whole numbers that are not negative.
    pub fn integers(&self, key: &str) -> Result<Option<Vec<u64>>> {
        self.typed(key, "an array of whole numbers", |value| match value {
            Value::Array(values) => values.as_u64s(),
            _ => None,
        })
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

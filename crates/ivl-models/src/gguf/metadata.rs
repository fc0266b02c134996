//! The metadata of a GGUF file: typed values by key, read from the mapped file when they are used.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::cursor::Cursor;
use super::error::GgufError;
use crate::Error;
use crate::mapped_file::MappedFile;

/// Bytes of the longest text: a chat template, or a whole tokenizer in one key.
const LONGEST_TEXT: u64 = 64 << 20;

/// Bytes of the longest key, as the specification has it.
pub(super) const LONGEST_KEY: u64 = (1 << 16) - 1;

/// More elements than any array of metadata has: the merges of the largest tokenizers are below a million.
const LONGEST_ARRAY: u64 = 1 << 24;

/// Largest size that metadata may name, as of a `config.json`.
const LARGEST_SIZE: u64 = 1 << 28;

/// The type of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ValueType {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    Text,
    Array,
    U64,
    I64,
    F64,
}

impl ValueType {
    const ALL: [Self; 13] = [
        Self::U8,
        Self::I8,
        Self::U16,
        Self::I16,
        Self::U32,
        Self::I32,
        Self::F32,
        Self::Bool,
        Self::Text,
        Self::Array,
        Self::U64,
        Self::I64,
        Self::F64,
    ];

    fn from_id(id: u32) -> Option<Self> {
        Self::ALL.get(id as usize).copied()
    }

    pub(super) fn id(self) -> u32 {
        self as u32
    }

    /// Bytes of a value; the fewest, if they differ.
    fn bytes(self) -> usize {
        match self {
            Self::U8 | Self::I8 | Self::Bool => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 | Self::Text => 8,
            Self::Array => 12,
        }
    }
}

/// Where a value is in the file. Arrays hold no arrays, and every text is UTF-8.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) kind: ValueType,
    /// Elements, of an array.
    pub(super) len: usize,
    pub(super) element: ValueType,
    /// Without the length of a text or the header of an array.
    bytes: Range<usize>,
}

impl Entry {
    /// Reads over a value and checks it.
    pub(super) fn read(cursor: &mut Cursor<'_>, key: &str) -> Result<Self, GgufError> {
        let what = || format!("the metadata `{key}`");
        let kind = read_type(cursor, key)?;
        let (mut len, mut element) = (1, kind);
        if kind == ValueType::Array {
            element = read_type(cursor, key)?;
            if element == ValueType::Array {
                return Err(GgufError::NestedArray { key: key.to_owned() });
            }
            let count = cursor.u64(&what)?;
            if count > LONGEST_ARRAY {
                let what = format!("the length of the array `{key}`");
                return Err(GgufError::TooMany { what, got: count, limit: LONGEST_ARRAY });
            }
            len = count as usize;
        }
        let mut start = cursor.position();
        if element == ValueType::Text {
            for _ in 0..len {
                let text = cursor.text(LONGEST_TEXT, &what)?;
                if kind == ValueType::Text {
                    start = cursor.position() - text.len();
                }
            }
        } else {
            cursor.take((len * element.bytes()) as u64, &what)?;
        }
        Ok(Self { kind, len, element, bytes: start..cursor.position() })
    }
}

fn read_type(cursor: &mut Cursor<'_>, key: &str) -> Result<ValueType, GgufError> {
    let id = cursor.u32(&|| format!("the type of the metadata `{key}`"))?;
    ValueType::from_id(id).ok_or_else(|| GgufError::ValueType { key: key.to_owned(), got: id })
}

/// The metadata of a GGUF file. Values are read from the file when they are used; nothing is copied.
///
/// `opt_..` gives `None` for a key that is absent. A value of another type is [`Error::InvalidField`], an absent one that must be
/// there [`Error::MissingField`]; both name file and key.
#[derive(Debug, Clone)]
pub struct GgufMetadata {
    file: Arc<MappedFile>,
    entries: BTreeMap<String, Entry>,
}

/// A value of the metadata. Numbers of any width are one of three kinds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MetadataValue<'a> {
    /// A whole number; all that the format has fit.
    Integer(i128),
    /// A number. One that was stored in 32 bits is the shortest decimal number that these bits mean.
    Number(f64),
    /// A truth value.
    Flag(bool),
    /// A text.
    Text(&'a str),
    /// A list.
    Array(MetadataArray<'a>),
}

/// A list in the metadata.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MetadataArray<'a> {
    element: ValueType,
    len: usize,
    bytes: &'a [u8],
}

/// The bytes of a number, from the start of `bytes`.
fn fixed<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[..N]);
    array
}

/// The shortest decimal number that is this one in 32 bits: 1e-6 and not 9.99999997475e-7.
fn shortest(number: f32) -> f64 {
    number.to_string().parse().unwrap_or_else(|_| f64::from(number))
}

impl ValueType {
    /// A value that is no text and no array.
    fn read(self, bytes: &[u8]) -> MetadataValue<'static> {
        match self {
            Self::U8 => MetadataValue::Integer(bytes[0].into()),
            Self::I8 => MetadataValue::Integer(i8::from_le_bytes(fixed(bytes)).into()),
            Self::U16 => MetadataValue::Integer(u16::from_le_bytes(fixed(bytes)).into()),
            Self::I16 => MetadataValue::Integer(i16::from_le_bytes(fixed(bytes)).into()),
            Self::U32 => MetadataValue::Integer(u32::from_le_bytes(fixed(bytes)).into()),
            Self::I32 => MetadataValue::Integer(i32::from_le_bytes(fixed(bytes)).into()),
            Self::U64 => MetadataValue::Integer(u64::from_le_bytes(fixed(bytes)).into()),
            Self::I64 => MetadataValue::Integer(i64::from_le_bytes(fixed(bytes)).into()),
            Self::F32 => MetadataValue::Number(shortest(f32::from_le_bytes(fixed(bytes)))),
            Self::F64 => MetadataValue::Number(f64::from_le_bytes(fixed(bytes))),
            Self::Bool => MetadataValue::Flag(bytes[0] != 0),
            Self::Text | Self::Array => unreachable!("texts and arrays are read by their lengths"),
        }
    }
}

impl<'a> MetadataArray<'a> {
    /// The number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no element.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The elements, in order.
    pub fn iter(self) -> impl Iterator<Item = MetadataValue<'a>> {
        let mut rest = self.bytes;
        (0..self.len).map(move |_| {
            if self.element == ValueType::Text {
                let (length, after) = rest.split_at(8);
                let (text, after) = after.split_at(u64::from_le_bytes(fixed(length)) as usize);
                rest = after;
                // Checked when the header was read.
                MetadataValue::Text(std::str::from_utf8(text).unwrap_or_default())
            } else {
                let (element, after) = rest.split_at(self.element.bytes());
                rest = after;
                self.element.read(element)
            }
        })
    }

    /// The elements, if they are texts.
    pub fn texts(self) -> Option<impl Iterator<Item = &'a str>> {
        let text = |value| if let MetadataValue::Text(text) = value { text } else { "" };
        (self.element == ValueType::Text).then(|| self.iter().map(text))
    }

    /// The elements, if they are whole numbers.
    pub fn integers(self) -> Option<impl Iterator<Item = i64>> {
        let integer = |value| match value {
            MetadataValue::Integer(integer) => i64::try_from(integer).unwrap_or(i64::MAX),
            _ => 0,
        };
        let floats = [ValueType::Text, ValueType::F32, ValueType::F64, ValueType::Bool];
        (!floats.contains(&self.element)).then(|| self.iter().map(integer))
    }

    /// The elements, if they are 32-bit floats, unchanged.
    pub fn floats(self) -> Option<impl Iterator<Item = f32>> {
        (self.element == ValueType::F32)
            .then(|| self.bytes.chunks_exact(4).map(|bytes| f32::from_le_bytes(fixed(bytes))))
    }
}

impl GgufMetadata {
    pub(super) fn new(file: Arc<MappedFile>, entries: BTreeMap<String, Entry>) -> Self {
        Self { file, entries }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// All keys, sorted.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<MetadataValue<'_>> {
        let entry = self.entries.get(key)?;
        let bytes = &self.file[entry.bytes.clone()];
        Some(match entry.kind {
            ValueType::Array => {
                MetadataValue::Array(MetadataArray { element: entry.element, len: entry.len, bytes })
            }
            ValueType::Text => MetadataValue::Text(std::str::from_utf8(bytes).unwrap_or_default()),
            kind => kind.read(bytes),
        })
    }

    /// Where a value is, and its bytes without the length of a text or the header of an array.
    pub(super) fn entry(&self, key: &str) -> Option<(&Entry, &[u8])> {
        let entry = self.entries.get(key)?;
        Some((entry, &self.file[entry.bytes.clone()]))
    }

    /// Whether there is such a key.
    pub fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// The error that a key has a value that cannot be used.
    pub fn invalid(&self, key: &str, expected: impl Into<String>) -> Error {
        let got = match self.get(key) {
            None => "absent".to_owned(),
            Some(MetadataValue::Array(array)) => {
                let first: Vec<String> = array.iter().take(4).map(shown).collect();
                format!(
                    "a list of {} ([{}{}])",
                    array.len(),
                    first.join(", "),
                    if array.len() > 4 { ", .." } else { "" }
                )
            }
            Some(value) => shown(value),
        };
        Error::InvalidField {
            path: self.path().to_owned(),
            field: key.to_owned(),
            expected: expected.into(),
            got,
        }
    }

    fn required<T>(&self, key: &str, value: Option<T>) -> Result<T, Error> {
        value.ok_or_else(|| Error::MissingField { path: self.path().to_owned(), field: key.to_owned() })
    }

    /// A text.
    pub fn opt_text(&self, key: &str) -> Result<Option<&str>, Error> {
        match self.get(key) {
            None => Ok(None),
            Some(MetadataValue::Text(text)) => Ok(Some(text)),
            Some(_) => Err(self.invalid(key, "a text")),
        }
    }

    /// A text that must be there.
    pub fn text(&self, key: &str) -> Result<&str, Error> {
        self.required(key, self.opt_text(key)?)
    }

    /// A truth value.
    pub fn opt_flag(&self, key: &str) -> Result<Option<bool>, Error> {
        match self.get(key) {
            None => Ok(None),
            Some(MetadataValue::Flag(flag)) => Ok(Some(flag)),
            Some(_) => Err(self.invalid(key, "true or false")),
        }
    }

    /// The id of a token.
    pub fn opt_id(&self, key: &str) -> Result<Option<u32>, Error> {
        match self.get(key) {
            None => Ok(None),
            Some(MetadataValue::Integer(id)) if u32::try_from(id).is_ok() => Ok(u32::try_from(id).ok()),
            Some(_) => Err(self.invalid(key, "the id of a token")),
        }
    }

    /// A size, at least 1.
    pub fn opt_size(&self, key: &str) -> Result<Option<usize>, Error> {
        match self.get(key) {
            None => Ok(None),
            Some(MetadataValue::Integer(size)) if (1..=i128::from(LARGEST_SIZE)).contains(&size) => {
                Ok(Some(size as usize))
            }
            Some(_) => Err(self.invalid(key, format!("a whole number from 1 to {LARGEST_SIZE}"))),
        }
    }

    /// A size that must be there.
    pub fn size(&self, key: &str) -> Result<usize, Error> {
        self.required(key, self.opt_size(key)?)
    }

    /// A finite number.
    pub fn opt_number(&self, key: &str) -> Result<Option<f64>, Error> {
        match self.get(key) {
            None => Ok(None),
            Some(MetadataValue::Number(number)) if number.is_finite() => Ok(Some(number)),
            Some(MetadataValue::Integer(integer)) => Ok(Some(integer as f64)),
            Some(_) => Err(self.invalid(key, "a number")),
        }
    }

    /// A finite number that must be there.
    pub fn number(&self, key: &str) -> Result<f64, Error> {
        self.required(key, self.opt_number(key)?)
    }

    /// A list.
    pub fn opt_array(&self, key: &str) -> Result<Option<MetadataArray<'_>>, Error> {
        match self.get(key) {
            None => Ok(None),
            Some(MetadataValue::Array(array)) => Ok(Some(array)),
            Some(_) => Err(self.invalid(key, "a list")),
        }
    }

    /// A list of texts.
    pub fn opt_texts(&self, key: &str) -> Result<Option<impl Iterator<Item = &str>>, Error> {
        let Some(array) = self.opt_array(key)? else { return Ok(None) };
        array.texts().map(Some).ok_or_else(|| self.invalid(key, "a list of texts"))
    }

    /// A list of whole numbers.
    pub fn opt_integers(&self, key: &str) -> Result<Option<impl Iterator<Item = i64>>, Error> {
        let Some(array) = self.opt_array(key)? else { return Ok(None) };
        array.integers().map(Some).ok_or_else(|| self.invalid(key, "a list of whole numbers"))
    }

    /// A list of 32-bit floats, unchanged.
    pub fn opt_floats(&self, key: &str) -> Result<Option<impl Iterator<Item = f32>>, Error> {
        let Some(array) = self.opt_array(key)? else { return Ok(None) };
        array.floats().map(Some).ok_or_else(|| self.invalid(key, "a list of 32-bit floats"))
    }
}

/// A value in an error.
fn shown(value: MetadataValue<'_>) -> String {
    let text = match value {
        MetadataValue::Integer(integer) => integer.to_string(),
        MetadataValue::Number(number) => number.to_string(),
        MetadataValue::Flag(flag) => flag.to_string(),
        MetadataValue::Text(text) => Value::from(text).to_string(),
        MetadataValue::Array(array) => format!("a list of {}", array.len()),
    };
    if text.chars().count() > 80 { text.chars().take(80).collect::<String>() + ".." } else { text }
}

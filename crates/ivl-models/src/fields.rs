//! Typed reading of a `config.json`: every error names the file and the field.

use std::path::Path;

use serde_json::{Map, Value};

use crate::Error;

/// Largest size that any field may name: bounds what a stranger's file can make us allocate.
const LARGEST: u64 = 1 << 28;

/// The fields of one JSON object.
///
/// `opt_..` takes a null for an absent field. `.._or` has a default for an absent field only: where transformers 5 gives a field
/// no null, a null is an error, not a default that the file did not mean.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'a> {
    map: &'a Map<String, Value>,
    path: &'a Path,
    prefix: &'static str,
}

impl<'a> Fields<'a> {
    /// The fields of `map`, from the file `path`.
    pub fn new(map: &'a Map<String, Value>, path: &'a Path) -> Self {
        Self { map, path, prefix: "" }
    }

    /// Fields of an object in the same file, which errors call `prefix`.
    pub(crate) fn within(&self, map: &'a Map<String, Value>, prefix: &'static str) -> Self {
        Self { map, path: self.path, prefix }
    }

    /// All fields.
    pub(crate) fn map(&self) -> &'a Map<String, Value> {
        self.map
    }

    /// No fields, of the same file.
    pub(crate) fn empty(&self) -> Self {
        static EMPTY: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);
        Self { map: &EMPTY, path: self.path, prefix: "" }
    }

    /// Whether there is no field at all.
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// Whether a field is not there. A null is there.
    pub fn is_absent(&self, field: &str) -> bool {
        !self.map.contains_key(field)
    }

    fn get(&self, field: &str) -> Option<&'a Value> {
        self.map.get(field).filter(|value| !value.is_null())
    }

    fn name(&self, field: &str) -> String {
        if self.prefix.is_empty() { field.to_owned() } else { format!("{}.{field}", self.prefix) }
    }

    /// The error that `field` has a value that cannot be used.
    pub fn invalid(&self, field: &str, expected: impl Into<String>) -> Error {
        let got = self.map.get(field).map_or_else(|| "absent".to_owned(), Value::to_string);
        let got =
            if got.chars().count() > 80 { got.chars().take(80).collect::<String>() + ".." } else { got };
        Error::InvalidField {
            path: self.path.to_owned(),
            field: self.name(field),
            expected: expected.into(),
            got,
        }
    }

    fn required<T>(&self, field: &str, value: Option<T>) -> Result<T, Error> {
        value.ok_or_else(|| Error::MissingField { path: self.path.to_owned(), field: self.name(field) })
    }

    /// A size, at least 1.
    pub fn opt_size(&self, field: &str) -> Result<Option<usize>, Error> {
        let Some(value) = self.get(field) else { return Ok(None) };
        match value.as_u64() {
            Some(size) if (1..=LARGEST).contains(&size) => Ok(Some(size as usize)),
            _ => Err(self.invalid(field, format!("a whole number from 1 to {LARGEST}"))),
        }
    }

    /// A size, or `default` if the field is absent.
    pub fn size_or(&self, field: &str, default: usize) -> Result<usize, Error> {
        if self.is_absent(field) { Ok(default) } else { self.size(field) }
    }

    /// A size that must be there.
    pub fn size(&self, field: &str) -> Result<usize, Error> {
        self.required(field, self.opt_size(field)?)
    }

    /// A whole number that may be 0, or `default` if the field is absent.
    pub fn count_or(&self, field: &str, default: usize) -> Result<usize, Error> {
        match self.map.get(field) {
            None => Ok(default),
            Some(value) => match value.as_u64() {
                Some(count) if count <= LARGEST => Ok(count as usize),
                _ => Err(self.invalid(field, format!("a whole number from 0 to {LARGEST}"))),
            },
        }
    }

    /// A finite number.
    pub fn opt_number(&self, field: &str) -> Result<Option<f64>, Error> {
        let Some(value) = self.get(field) else { return Ok(None) };
        match value.as_f64() {
            Some(number) if number.is_finite() => Ok(Some(number)),
            _ => Err(self.invalid(field, "a number")),
        }
    }

    /// A number above 0; `default` if the field is absent, nothing if it is null.
    pub fn positive_unless_null(&self, field: &str, default: f64) -> Result<Option<f64>, Error> {
        match self.map.get(field) {
            None => Ok(Some(default)),
            Some(Value::Null) => Ok(None),
            Some(_) => self.positive(field).map(Some),
        }
    }

    /// A number above 0.
    pub fn opt_positive(&self, field: &str) -> Result<Option<f64>, Error> {
        if self.has(field) { self.positive(field).map(Some) } else { Ok(None) }
    }

    /// A number above 0, or `default` if the field is absent.
    pub fn positive_or(&self, field: &str, default: f64) -> Result<f64, Error> {
        if self.is_absent(field) { Ok(default) } else { self.positive(field) }
    }

    /// A number above 0 that must be there.
    pub fn positive(&self, field: &str) -> Result<f64, Error> {
        match self.required(field, self.opt_number(field)?)? {
            number if number > 0.0 => Ok(number),
            _ => Err(self.invalid(field, "a number above 0")),
        }
    }

    /// A truth value.
    pub fn opt_flag(&self, field: &str) -> Result<Option<bool>, Error> {
        let Some(value) = self.get(field) else { return Ok(None) };
        value.as_bool().map(Some).ok_or_else(|| self.invalid(field, "true or false"))
    }

    /// A truth value, or `default` if the field is absent.
    pub fn flag_or(&self, field: &str, default: bool) -> Result<bool, Error> {
        if self.is_absent(field) {
            return Ok(default);
        }
        self.opt_flag(field)?.ok_or_else(|| self.invalid(field, "true or false"))
    }

    /// A string.
    pub fn opt_text(&self, field: &str) -> Result<Option<&'a str>, Error> {
        match self.get(field) {
            None => Ok(None),
            Some(value) => value.as_str().map(Some).ok_or_else(|| self.invalid(field, "a string")),
        }
    }

    /// A list of strings.
    pub fn opt_texts(&self, field: &str) -> Result<Option<Vec<&'a str>>, Error> {
        let Some(value) = self.get(field) else { return Ok(None) };
        let texts = value.as_array().and_then(|list| list.iter().map(Value::as_str).collect());
        texts.map(Some).ok_or_else(|| self.invalid(field, "a list of strings"))
    }

    /// A list of whole numbers that may be 0.
    pub fn opt_counts(&self, field: &str) -> Result<Option<Vec<u64>>, Error> {
        let Some(value) = self.get(field) else { return Ok(None) };
        let counts = value.as_array().and_then(|list| list.iter().map(Value::as_u64).collect());
        counts.map(Some).ok_or_else(|| self.invalid(field, "a list of whole numbers"))
    }

    /// A list of `len` positive numbers.
    pub fn positives(&self, field: &str, len: usize) -> Result<Vec<f64>, Error> {
        let value = self.required(field, self.get(field))?;
        let numbers =
            value.as_array().and_then(|list| list.iter().map(Value::as_f64).collect::<Option<Vec<f64>>>());
        match numbers {
            Some(numbers) if numbers.len() == len && numbers.iter().all(|&n| n > 0.0 && n.is_finite()) => {
                Ok(numbers)
            }
            _ => Err(self.invalid(field, format!("a list of {len} numbers above 0"))),
        }
    }

    /// A nested object.
    pub fn opt_object(&self, field: &'static str) -> Result<Option<Self>, Error> {
        match self.get(field) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(Self { map, path: self.path, prefix: field })),
            Some(_) => Err(self.invalid(field, "an object")),
        }
    }

    /// Whether a field is there and not null.
    pub fn has(&self, field: &str) -> bool {
        self.get(field).is_some()
    }
}

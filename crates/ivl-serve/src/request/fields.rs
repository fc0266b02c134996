//! A JSON body, read field by field: an error names the field.

use serde_json::{Map, Value};

use crate::api_error::ApiError;

/// The object that a client sent. A field that is `null` counts as absent.
#[derive(Debug, Clone)]
pub(crate) struct Fields(Map<String, Value>);

impl Fields {
    /// Reads a body.
    ///
    /// # Errors
    /// [`ApiError::malformed`] if it is not a JSON object.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        match serde_json::from_slice(body) {
            Ok(Value::Object(map)) => Ok(Self(map)),
            Ok(_) => Err(ApiError::malformed("the body is not a JSON object")),
            Err(error) => Err(ApiError::malformed(format!("the body is not JSON: {error}"))),
        }
    }

    /// A field of this object that is an object itself.
    pub(crate) fn object(&self, name: &str) -> Result<Option<Self>, ApiError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(Self(map.clone()))),
            Some(_) => Err(expected(name, "an object")),
        }
    }

    pub(crate) fn from_value(value: &Value) -> Option<Self> {
        value.as_object().cloned().map(Self)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    pub(crate) fn flag(&self, name: &str) -> Result<bool, ApiError> {
        match self.get(name) {
            None => Ok(false),
            Some(value) => value.as_bool().ok_or_else(|| expected(name, "true or false")),
        }
    }

    /// A flag with another default than `false`.
    pub(crate) fn flag_or(&self, name: &str, default: bool) -> Result<bool, ApiError> {
        if self.get(name).is_none() { Ok(default) } else { self.flag(name) }
    }

    /// All fields.
    pub(crate) fn into_map(self) -> Map<String, Value> {
        self.0
    }

    pub(crate) fn text(&self, name: &str) -> Result<Option<&str>, ApiError> {
        let text = |value: &'_ Value| value.as_str().map(str::len);
        match self.get(name) {
            None => Ok(None),
            Some(value) if text(value).is_some() => Ok(value.as_str()),
            Some(_) => Err(expected(name, "a string")),
        }
    }

    /// A number from `least` to `most`.
    pub(crate) fn number(&self, name: &str, least: f64, most: f64) -> Result<Option<f64>, ApiError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        match value.as_f64() {
            Some(number) if (least..=most).contains(&number) => Ok(Some(number)),
            _ => Err(expected(name, &format!("a number from {least} to {most}"))),
        }
    }

    /// A whole number from `least` to `most`.
    pub(crate) fn count(&self, name: &str, least: usize, most: usize) -> Result<Option<usize>, ApiError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        match value.as_u64() {
            Some(number) if (least as u64..=most as u64).contains(&number) => Ok(Some(number as usize)),
            _ => Err(expected(name, &format!("a whole number from {least} to {most}"))),
        }
    }
}

/// The error for a field of the wrong kind.
pub(crate) fn expected(name: &str, what: &str) -> ApiError {
    ApiError::invalid(name, format!("`{name}` should be {what}"))
}

/// A list of token ids, or `None` if it is something else.
pub(crate) fn ids(value: &Value) -> Option<Vec<u32>> {
    value.as_array()?.iter().map(|id| id.as_u64().and_then(|id| u32::try_from(id).ok())).collect()
}

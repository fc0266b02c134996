//! Writing metadata: keys with typed values, as the header of a GGUF file has them.

use super::metadata::{GgufMetadata, ValueType};

/// Collects the metadata of a file that is written.
#[derive(Debug, Clone, Default)]
pub struct MetadataWriter {
    count: u64,
    bytes: Vec<u8>,
}

impl MetadataWriter {
    /// No metadata.
    pub fn new() -> Self {
        Self::default()
    }

    /// The number of keys.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Keys and values, as they are in the file.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn key(&mut self, key: &str, kind: ValueType) {
        self.count += 1;
        put_text(&mut self.bytes, key);
        self.bytes.extend(kind.id().to_le_bytes());
    }

    fn array<T>(&mut self, key: &str, kind: ValueType, items: &[T], put: impl Fn(&mut Vec<u8>, &T)) {
        self.key(key, ValueType::Array);
        self.bytes.extend(kind.id().to_le_bytes());
        self.bytes.extend((items.len() as u64).to_le_bytes());
        for item in items {
            put(&mut self.bytes, item);
        }
    }

    /// A text.
    pub fn text(&mut self, key: &str, text: &str) {
        self.key(key, ValueType::Text);
        put_text(&mut self.bytes, text);
    }

    /// A truth value.
    pub fn flag(&mut self, key: &str, flag: bool) {
        self.key(key, ValueType::Bool);
        self.bytes.push(flag.into());
    }

    /// A whole number, such as a size or the id of a token.
    pub fn size(&mut self, key: &str, size: u32) {
        self.key(key, ValueType::U32);
        self.bytes.extend(size.to_le_bytes());
    }

    /// A whole number that may be negative.
    pub fn integer(&mut self, key: &str, integer: i32) {
        self.key(key, ValueType::I32);
        self.bytes.extend(integer.to_le_bytes());
    }

    /// A number in 32 bits.
    pub fn number(&mut self, key: &str, number: f32) {
        self.key(key, ValueType::F32);
        self.bytes.extend(number.to_le_bytes());
    }

    /// A list of texts.
    pub fn texts<T: AsRef<str>>(&mut self, key: &str, texts: &[T]) {
        self.array(key, ValueType::Text, texts, |bytes, text| put_text(bytes, text.as_ref()));
    }

    /// A list of whole numbers.
    pub fn integers(&mut self, key: &str, integers: &[i32]) {
        self.array(key, ValueType::I32, integers, |bytes, integer| bytes.extend(integer.to_le_bytes()));
    }

    /// A list of numbers in 32 bits.
    pub fn numbers(&mut self, key: &str, numbers: &[f32]) {
        self.array(key, ValueType::F32, numbers, |bytes, number| bytes.extend(number.to_le_bytes()));
    }

    /// A key of another file with its value, unchanged; nothing if it is not there.
    pub fn copy(&mut self, metadata: &GgufMetadata, key: &str) {
        let Some((entry, value)) = metadata.entry(key) else { return };
        self.key(key, entry.kind);
        match entry.kind {
            ValueType::Text => self.bytes.extend((value.len() as u64).to_le_bytes()),
            ValueType::Array => {
                self.bytes.extend(entry.element.id().to_le_bytes());
                self.bytes.extend((entry.len as u64).to_le_bytes());
            }
            _ => {}
        }
        self.bytes.extend(value);
    }

    /// A list of truth values.
    pub fn flags(&mut self, key: &str, flags: &[bool]) {
        self.array(key, ValueType::Bool, flags, |bytes, flag| bytes.push((*flag).into()));
    }
}

/// A length, and as many bytes.
pub(super) fn put_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text.as_bytes());
}

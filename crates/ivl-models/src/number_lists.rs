//! Lists of numbers as one safetensors file, for programs that map it into memory.

use std::collections::HashMap;
use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::TensorView;

use crate::files::{FileError, write_whole};

/// A list of numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NumberList {
    /// Bytes.
    U8(Vec<u8>),
    /// Such as token ids.
    I32(Vec<i32>),
    /// Such as offsets.
    I64(Vec<i64>),
}

impl NumberList {
    /// Type, length, and the numbers as bytes, little endian.
    fn into_parts(self) -> (Dtype, usize, Vec<u8>) {
        match self {
            Self::U8(numbers) => (Dtype::U8, numbers.len(), numbers),
            Self::I32(numbers) => {
                let bytes = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
                (Dtype::I32, numbers.len(), bytes)
            }
            Self::I64(numbers) => {
                let bytes = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
                (Dtype::I64, numbers.len(), bytes)
            }
        }
    }
}

/// Writes lists by name, whole or not at all; `format` goes to the metadata.
///
/// # Errors
/// [`FileError::Io`] if the file cannot be written.
pub fn write_number_lists<const N: usize>(
    path: &Path,
    format: &str,
    lists: [(&'static str, NumberList); N],
) -> Result<(), FileError> {
    let parts = lists.map(|(name, list)| (name, list.into_parts()));
    let metadata = HashMap::from([("format".to_owned(), format.to_owned())]);
    write_whole(path, |partial| {
        let views: Result<Vec<_>, safetensors::SafeTensorError> = parts
            .iter()
            .map(|(name, (dtype, len, bytes))| Ok((*name, TensorView::new(*dtype, vec![*len], bytes)?)))
            .collect();
        let written = views.and_then(|views| safetensors::serialize_to_file(views, Some(metadata), partial));
        written.map_err(|error| match error {
            safetensors::SafeTensorError::IoError(error) => error,
            other => std::io::Error::other(other),
        })
    })
}

//! The tensors of a file that `torch.save` wrote: a dictionary from names to tensors.

use std::ops::Range;

use safetensors::Dtype;

use super::archive::Archive;
use super::error::PytorchError;
use super::pickle::{Id, Value, Values, read};

/// The largest pickle that is read. A tensor takes about 200 bytes.
const LARGEST_PICKLE: usize = 64 << 20;

/// More axes than any tensor of a model has.
const MOST_AXES: usize = 8;

/// A tensor of the file.
#[derive(Debug, Clone)]
pub(crate) struct PickledTensor {
    pub(crate) name: String,
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
    /// Its bytes in the file.
    pub(crate) bytes: Range<usize>,
}

/// The tensors of a file, in its order.
///
/// # Errors
/// [`PytorchError`] for anything but an archive with a dictionary of tensors.
pub(crate) fn read_tensors(file: &[u8]) -> Result<Vec<PickledTensor>, PytorchError> {
    let archive = Archive::read(file)?;
    let absent = |entry: &str| PytorchError::Entry { entry: entry.to_owned(), reason: "is absent" };
    let pickle = archive.entry("data.pkl").ok_or_else(|| absent("data.pkl"))?;
    if pickle.len() > LARGEST_PICKLE {
        return Err(PytorchError::Entry {
            entry: "data.pkl".to_owned(),
            reason: "is larger than any of a model",
        });
    }
    if let Some(order) = archive.entry("byteorder")
        && &file[order] != b"little"
    {
        return Err(PytorchError::Entry { entry: "byteorder".to_owned(), reason: "is not `little`" });
    }
    let (values, root) = read(&file[pickle])?;
    let Value::Dict(entries) = values.get(root) else {
        return Err(PytorchError::NotTensors { got: kind(values.get(root)).to_owned() });
    };
    let reader = Reader { archive: &archive, values: &values };
    let mut tensors = Vec::with_capacity(entries.len());
    for &(key, value) in entries {
        let Value::Text(name) = values.get(key) else {
            return Err(PytorchError::NotTensors { got: format!("{} as a name", kind(values.get(key))) });
        };
        tensors.push(reader.tensor(name, value)?);
    }
    Ok(tensors)
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Other(kind) => kind,
        Value::Int(_) => "a number",
        Value::Text(_) => "a text",
        Value::Tuple(_) => "a tuple",
        Value::List(_) => "a list",
        Value::Dict(_) => "a dictionary",
        Value::Global(_) => "a function",
        Value::Outside(_) => "a storage",
        Value::Call { .. } => "a tensor",
    }
}

struct Reader<'a> {
    archive: &'a Archive,
    values: &'a Values,
}

impl Reader<'_> {
    fn items(&self, id: Id) -> Option<&[Id]> {
        match self.values.get(id) {
            Value::Tuple(items) | Value::List(items) => Some(items),
            _ => None,
        }
    }

    fn size(&self, id: Id) -> Option<usize> {
        match self.values.get(id) {
            Value::Int(number) => usize::try_from(*number).ok(),
            _ => None,
        }
    }

    fn sizes(&self, id: Id) -> Option<Vec<usize>> {
        let items = self.items(id).filter(|items| items.len() <= MOST_AXES)?;
        items.iter().map(|&item| self.size(item)).collect()
    }

    fn tensor(&self, name: &str, id: Id) -> Result<PickledTensor, PytorchError> {
        let bad = |reason: &str| PytorchError::Tensor { tensor: name.to_owned(), reason: reason.to_owned() };
        let mut arguments = self.call(id).ok_or_else(|| bad(&format!("is {}", kind(self.values.get(id)))))?;
        // A parameter is a call with a tensor.
        if let Some(inner) = arguments.first().and_then(|&first| self.call(first)) {
            arguments = inner;
        }
        let (Some(&storage), Some(first), Some(shape), Some(strides)) = (
            arguments.first(),
            arguments.get(1).and_then(|&id| self.size(id)),
            arguments.get(2).and_then(|&id| self.sizes(id)),
            arguments.get(3).and_then(|&id| self.sizes(id)),
        ) else {
            return Err(bad("is described in a way that ivl does not know"));
        };
        if !is_contiguous(&shape, &strides) {
            return Err(bad("is not stored row by row; call `.contiguous()` on it before it is saved"));
        }
        let (dtype, place) = self.storage(storage).map_err(|reason| bad(&reason))?;
        let width = dtype.bitsize() / 8;
        let len = shape.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
        let bytes = len.and_then(|len| {
            let start = first.checked_mul(width)?.checked_add(place.start)?;
            Some(start..start.checked_add(len.checked_mul(width)?)?)
        });
        let bytes = bytes.filter(|bytes| bytes.end <= place.end);
        let bytes = bytes.ok_or_else(|| bad("reaches beyond its storage; the file is not whole"))?;
        Ok(PickledTensor { name: name.to_owned(), dtype, shape, bytes })
    }

    /// The arguments of a call that describes a tensor or a parameter.
    fn call(&self, id: Id) -> Option<&[Id]> {
        match self.values.get(id) {
            Value::Call { arguments, .. } => self.items(*arguments),
            _ => None,
        }
    }

    /// The type and bytes of a storage: `("storage", type, entry, device, length)`.
    fn storage(&self, id: Id) -> Result<(Dtype, Range<usize>), String> {
        let unknown = || "has a storage that ivl does not know".to_owned();
        let Value::Outside(description) = self.values.get(id) else { return Err(unknown()) };
        let Some([_, class, entry, ..]) = self.items(*description) else { return Err(unknown()) };
        let (Value::Global(class), Value::Text(entry)) = (self.values.get(*class), self.values.get(*entry))
        else {
            return Err(unknown());
        };
        let dtype = match class.as_str() {
            "torch.FloatStorage" => Dtype::F32,
            "torch.HalfStorage" => Dtype::F16,
            "torch.BFloat16Storage" => Dtype::BF16,
            "torch.DoubleStorage" => Dtype::F64,
            "torch.LongStorage" => Dtype::I64,
            "torch.IntStorage" => Dtype::I32,
            "torch.ShortStorage" => Dtype::I16,
            "torch.CharStorage" => Dtype::I8,
            "torch.ByteStorage" => Dtype::U8,
            "torch.BoolStorage" => Dtype::BOOL,
            other => return Err(format!("is of type {other}")),
        };
        let name = format!("data/{entry}");
        let place = self.archive.entry(&name);
        place.map(|place| (dtype, place)).ok_or_else(|| format!("is in `{name}`, which the archive lacks"))
    }
}

/// Whether numbers lie row by row. The stride of an axis of one entry is arbitrary.
fn is_contiguous(shape: &[usize], strides: &[usize]) -> bool {
    let mut expected = 1usize;
    shape.len() == strides.len()
        && shape.iter().zip(strides).rev().all(|(&size, &stride)| {
            let fits = size <= 1 || stride == expected;
            expected = expected.saturating_mul(size.max(1));
            fits
        })
}

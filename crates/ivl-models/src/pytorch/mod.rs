//! Files that `torch.save` writes: an archive with the bytes of tensors, and a pickle that names them.
//!
//! A pickle is a program. This reader runs none: it follows the instructions that build lists, dictionaries and numbers, and of calls
//! only those that describe a tensor; any other is an error. Tensors stay in the file until they are read.

mod archive;
mod error;
mod pickle;
mod state_dict;

pub use error::PytorchError;
pub(crate) use state_dict::{PickledTensor, read_tensors};

//! Errors of reading files that `torch.save` writes.

/// Why a file that `torch.save` wrote, or that looks like one, is not read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PytorchError {
    /// The file is no archive, or is cut short.
    #[error(
        "it is no archive of PyTorch 1.6 or later, or it is cut short; download it again, or load it with transformers and \
         `save_pretrained`"
    )]
    NotAnArchive,
    /// An entry of the archive that is absent, compressed, or reaches beyond the file.
    #[error("the entry `{entry}` of its archive {reason}")]
    Entry {
        /// The name.
        entry: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A pickle that is broken or larger than any of a model.
    #[error("its pickle {reason} at byte {at}")]
    Pickle {
        /// What is wrong with it.
        reason: &'static str,
        /// Where.
        at: usize,
    },
    /// A pickle that calls something which describes no tensor.
    #[error(
        "its pickle asks to call `{name}`, expected only tensors; ivl calls nothing. If you trust the file, load it with transformers and \
         `save_pretrained`"
    )]
    Call {
        /// The function or class.
        name: String,
    },
    /// The pickle holds something else than tensors by name.
    #[error("its pickle holds {got}, expected a dictionary of tensors by name")]
    NotTensors {
        /// What it holds.
        got: String,
    },
    /// A tensor that cannot be read.
    #[error("its tensor `{tensor}` {reason}")]
    Tensor {
        /// The name.
        tensor: String,
        /// What is wrong with it.
        reason: String,
    },
}

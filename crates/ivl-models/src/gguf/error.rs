//! What can be wrong with the container of a GGUF file.

/// Why a file is not a GGUF file that can be read. The path is in the error around it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GgufError {
    /// Another format.
    #[error(
        "it begins with {got:?}, expected the bytes `GGUF`; is it another format, or an unfinished download?"
    )]
    Magic {
        /// The first bytes.
        got: String,
    },
    /// A version with another layout.
    #[error(
        "it has version {got} of the format, expected 2 or 3; convert the model again with a current converter"
    )]
    Version {
        /// The version.
        got: u32,
    },
    /// A file for big-endian machines.
    #[error("its numbers are big-endian, expected little-endian; use the little-endian file of the model")]
    BigEndian,
    /// The file ends inside something.
    #[error(
        "it ends inside {what}: {needed} bytes are needed at byte {at}, {left} are left; download or copy it again"
    )]
    CutShort {
        /// What is being read.
        what: String,
        /// Where.
        at: usize,
        /// Its size.
        needed: u64,
        /// The rest of the file.
        left: usize,
    },
    /// A count or length beyond any that a model has.
    #[error("{what} is {got}, expected at most {limit}; the header is broken: download the file again")]
    TooMany {
        /// What is counted.
        what: String,
        /// The count.
        got: u64,
        /// The bound.
        limit: u64,
    },
    /// Bytes that are no text.
    #[error("{what} at byte {at} is not UTF-8 text; the file is broken or was written by a faulty converter")]
    NotText {
        /// Which text.
        what: String,
        /// Where.
        at: usize,
    },
    /// A type of metadata that the format does not have.
    #[error(
        "the metadata `{key}` has type {got}, expected a type from 0 to 12; the header is broken: download the file again"
    )]
    ValueType {
        /// The key.
        key: String,
        /// The type.
        got: u32,
    },
    /// An array of arrays.
    #[error("the metadata `{key}` is an array of arrays, expected an array of numbers, flags or texts")]
    NestedArray {
        /// The key.
        key: String,
    },
    /// A name that occurs twice.
    #[error("{what} occurs twice, expected once; the file is broken: convert the model again")]
    Duplicate {
        /// What.
        what: String,
    },
    /// An alignment that is no power of two.
    #[error("`general.alignment` is {got}, expected a power of two up to {limit}")]
    Alignment {
        /// As it is in the file.
        got: String,
        /// The bound.
        limit: usize,
    },
    /// A tensor whose dimensions mean nothing.
    #[error("tensor `{tensor}` has the dimensions {got:?}, expected {expected}")]
    Dimensions {
        /// The tensor.
        tensor: String,
        /// Its dimensions.
        got: Vec<u64>,
        /// What they have to be.
        expected: String,
    },
    /// A type of tensor whose size is not known.
    #[error(
        "tensor `{tensor}` has type {got}, which {reason}; use a file of another quantisation, such as Q8_0 or Q4_K_M"
    )]
    TensorType {
        /// The tensor.
        tensor: String,
        /// The number of the type.
        got: u32,
        /// What is known about it.
        reason: &'static str,
    },
    /// A tensor whose bytes begin where none may.
    #[error("tensor `{tensor}` begins at offset {got}, expected a multiple of the alignment {alignment}")]
    Unaligned {
        /// The tensor.
        tensor: String,
        /// Its offset.
        got: u64,
        /// The alignment of the file.
        alignment: usize,
    },
    /// Two tensors share bytes.
    #[error("tensors `{first}` and `{second}` overlap; the file is broken: download or convert it again")]
    Overlap {
        /// The first.
        first: String,
        /// The one that begins inside it.
        second: String,
    },
    /// A part of a model that is not the first.
    #[error("it is part {part} of {parts}; name the first part, `{first}`, which finds the others beside it")]
    LaterPart {
        /// Counted from 1.
        part: u64,
        /// Parts in all.
        parts: u64,
        /// The file name of the first.
        first: String,
    },
    /// A part of a model whose name does not say which one it is.
    #[error(
        "it is one of {parts} parts, expected a name that ends in `-00001-of-{parts:05}.gguf`; give the parts their names again"
    )]
    PartName {
        /// Parts in all.
        parts: u64,
    },
    /// A part of another model, or in the wrong place.
    #[error(
        "it is part {got} of {got_parts}, expected part {expected} of {parts}; all parts have to be of one model"
    )]
    WrongPart {
        /// Counted from 1.
        got: u64,
        /// Parts in all.
        got_parts: u64,
        /// The place in which it is.
        expected: u64,
        /// Parts that the first names.
        parts: u64,
    },
}

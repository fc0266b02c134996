//! A matrix as a file stores it.

use ivl_kernels::{Matrix, PackedFormat};

/// A matrix of which each output's inputs are stored side by side.
pub(crate) struct StoredMatrix<'a> {
    /// The format that holds the numbers unchanged.
    pub(crate) format: PackedFormat,
    /// Writes the numbers of an output.
    pub(crate) numbers: NumberRows<'a>,
    /// The blocks of an output, if they are stored in blocks.
    pub(crate) blocks: Option<BlockRows<'a>>,
}

type NumberRows<'a> = Box<dyn Fn(usize, &mut [f32]) + Sync + 'a>;
type BlockRows<'a> = Box<dyn Fn(usize) -> &'a [u8] + Sync + 'a>;

impl StoredMatrix<'_> {
    /// Lays the matrix out in a format.
    ///
    /// # Panics
    /// If it is stored in blocks, and a row is no whole blocks.
    pub(crate) fn packed(self, format: PackedFormat, shape: [usize; 2]) -> Matrix {
        match (format, self.blocks) {
            (PackedFormat::Blocks(blocks), Some(rows)) if format == self.format => {
                Matrix::from_block_rows(blocks, shape, rows).expect("rows of whole blocks")
            }
            _ => Matrix::from_rows(format, shape, self.numbers),
        }
    }
}

/// The path of the table of vectors for each layer.
pub(crate) const LAYER_TABLE: &str = "layer_inputs.embedding.weight";

/// Whether a matrix is a table of outputs, `[output, input]`: an embedding is the transposed head.
pub(crate) fn is_table(path: &str) -> bool {
    path == "embedding.weight" || path == LAYER_TABLE
}

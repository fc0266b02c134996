//! Prompts that are read in chunks.

use burn::tensor::{Int, Tensor};

use crate::error::Error;

/// Reads a prompt `chunk` columns at a time, which bounds the attention scores of long prompts, and returns what `read`
/// returns for the last chunk: the logits after the prompt. `None` if there is no token.
///
/// ```
/// # use burn::tensor::{Device, Int, Tensor};
/// # use ivl_core::causal_lm::prefill;
/// let prompt = Tensor::<2, Int>::from_ints([[1, 2, 3, 4, 5]], &Device::flex());
/// let mut widths = Vec::new();
/// // `read` is usually `|chunk| lm.next_logits(chunk, &mut cache)`.
/// prefill(prompt, 2, |chunk| Ok(widths.push(chunk.dims()[1])))?;
/// assert_eq!(widths, [2, 2, 1]);
/// # Ok::<(), ivl_core::Error>(())
/// ```
///
/// # Shapes
/// - `tokens`: `[batch, seq]`
///
/// # Errors
/// Those of `read`; the chunks after a failure are not read.
pub fn prefill<L>(
    tokens: Tensor<2, Int>,
    chunk: usize,
    mut read: impl FnMut(Tensor<2, Int>) -> Result<L, Error>,
) -> Result<Option<L>, Error> {
    let [batch, seq] = tokens.dims();
    if seq <= chunk {
        return if seq == 0 { Ok(None) } else { read(tokens).map(Some) };
    }
    let mut last = None;
    for start in (0..seq).step_by(chunk.max(1)) {
        let end = (start + chunk.max(1)).min(seq);
        last = Some(read(tokens.clone().slice([0..batch, start..end]))?);
    }
    Ok(last)
}

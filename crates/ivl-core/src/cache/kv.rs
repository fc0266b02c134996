//! Keys and values of one attention layer.

use burn::tensor::{Device, Tensor};

use super::{KvBuffer, KvFormat};

/// Keys and values of one attention layer, in buffers that grow by doubling.
#[derive(Debug, Clone, Default)]
pub struct KvCache {
    buffers: Option<[KvBuffer; 2]>,
    len: usize,
}

impl KvCache {
    /// Appends the keys and values of new positions and returns those of all positions so far.
    ///
    /// A first call keeps the tensors as they are, so that a pass over a whole sequence (training, scoring) copies
    /// nothing.
    ///
    /// # Shapes
    /// - `keys`, `values`: `[batch, kv_heads, seq, head_dim]`
    /// - output: twice `[batch, kv_heads, len + seq, head_dim]`
    pub fn append(&mut self, keys: Tensor<4>, values: Tensor<4>) -> (Tensor<4>, Tensor<4>) {
        let start = self.len;
        self.len += keys.dims()[2];
        let Some([all_keys, all_values]) = self.buffers.take() else {
            self.buffers = Some([KvBuffer::Floats(keys.clone()), KvBuffer::Floats(values.clone())]);
            return (keys, values);
        };
        // Taken out of the option: `slice_assign` works in place only on a tensor without other owners.
        let all_keys = all_keys.write(keys, start);
        let all_values = all_values.write(values, start);
        let view = (all_keys.floats(self.len), all_values.floats(self.len));
        self.buffers = Some([all_keys, all_values]);
        view
    }

    /// Keys and values of all positions so far, shape `[batch, kv_heads, len, head_dim]` each; `None` while the cache is empty.
    ///
    /// # Panics
    /// If they are codes: only kernels of the CPU [read](Self::extend_in_place) these.
    pub fn held(&self) -> Option<(Tensor<4>, Tensor<4>)> {
        let [keys, values] = self.buffers.as_ref()?;
        Some((keys.floats(self.len), values.floats(self.len)))
    }

    /// Makes room for new positions and lets `write` fill them in place. `write` gets the buffers of keys and of values
    /// and the number of positions before the new ones; it returns the buffers. A cache that is not empty keeps its format.
    ///
    /// `shape` is that of the new keys, `[batch, kv_heads, seq, head_dim]`.
    pub fn extend_in_place(
        &mut self,
        shape: [usize; 4],
        device: &Device,
        format: KvFormat,
        write: impl FnOnce([KvBuffer; 2], usize) -> [KvBuffer; 2],
    ) {
        let [batch, kv_heads, seq, head_dim] = shape;
        let (start, end) = (self.len, self.len + seq);
        self.len = end;
        let empty = || KvBuffer::zeros([batch, kv_heads, end, head_dim], device, format);
        let buffers = self.buffers.take().unwrap_or_else(|| [empty(), empty()]);
        self.buffers = Some(write(buffers.map(|buffer| buffer.with_room(start, end)), start));
    }

    /// Number of key heads and their width; `None` while the cache is empty.
    pub(super) fn heads(&self) -> Option<[usize; 2]> {
        let [_, kv_heads, _, head_dim] = self.buffers.as_ref()?[0].dims();
        Some([kv_heads, head_dim])
    }

    pub(super) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
        if self.len == 0 {
            self.buffers = None;
        }
    }

    pub(super) fn select(&mut self, rows: &[usize]) {
        self.buffers = self.buffers.take().map(|buffers| buffers.map(|buffer| buffer.select(rows)));
    }

    /// Adds the rows of another cache. The ends of all rows are aligned at `len`.
    pub(super) fn join(&mut self, other: Self, len: usize) {
        let lens = [self.len, other.len];
        let both = self.buffers.take().zip(other.buffers);
        self.buffers = both.map(|([keys, values], [more_keys, more_values])| {
            [keys.join(more_keys, lens), values.join(more_values, lens)]
        });
        self.len = len;
    }

    /// Keeps some rows, without their first `dropped` positions.
    pub(super) fn keep(&mut self, rows: &[usize], dropped: usize) {
        let len = self.len;
        self.buffers =
            self.buffers.take().map(|buffers| buffers.map(|buffer| buffer.keep(rows, dropped, len)));
        self.len -= dropped;
    }

    /// Bytes of the buffers, free positions included.
    pub(super) fn bytes(&self) -> usize {
        self.buffers.iter().flatten().map(KvBuffer::bytes).sum()
    }
}

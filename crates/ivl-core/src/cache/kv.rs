//! Keys and values of one attention layer.

use burn::tensor::{DType, Device, Tensor};

use crate::tokens::index_tensor;

/// Free positions after the last one when rows are laid out in a new buffer, so that the next steps write in place.
const ROOM: usize = 64;

/// Keys and values of one attention layer, shape `[batch, kv_heads, len, head_dim]`, in a buffer that grows by doubling.
#[derive(Debug, Clone, Default)]
pub struct KvCache {
    buffers: Option<(Tensor<4>, Tensor<4>)>,
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
        let Some((all_keys, all_values)) = self.buffers.take() else {
            self.buffers = Some((keys.clone(), values.clone()));
            return (keys, values);
        };
        // Taken out of the option: `slice_assign` works in place only on a tensor without other owners.
        let all_keys = write(all_keys, keys, start);
        let all_values = write(all_values, values, start);
        let view = (prefix(&all_keys, self.len), prefix(&all_values, self.len));
        self.buffers = Some((all_keys, all_values));
        view
    }

    /// Keys and values of all positions so far, shape `[batch, kv_heads, len, head_dim]` each; `None` while the cache is empty.
    pub fn held(&self) -> Option<(Tensor<4>, Tensor<4>)> {
        let (keys, values) = self.buffers.as_ref()?;
        Some((prefix(keys, self.len), prefix(values, self.len)))
    }

    /// Makes room for new positions and lets `write` fill them in place. `write` gets the buffers of keys and of values,
    /// `[batch, kv_heads, capacity, head_dim]`, and the number of positions before the new ones; it returns the buffers.
    ///
    /// `shape` is that of the new keys, `[batch, kv_heads, seq, head_dim]`.
    pub fn extend_in_place(
        &mut self,
        shape: [usize; 4],
        device: &Device,
        dtype: DType,
        write: impl FnOnce(Tensor<4>, Tensor<4>, usize) -> (Tensor<4>, Tensor<4>),
    ) {
        let [batch, kv_heads, seq, head_dim] = shape;
        let (start, end) = (self.len, self.len + seq);
        self.len = end;
        let empty = || Tensor::zeros([batch, kv_heads, end, head_dim], (device, dtype));
        let (keys, values) = self.buffers.take().unwrap_or_else(|| (empty(), empty()));
        self.buffers = Some(write(with_room(keys, start, end), with_room(values, start, end), start));
    }

    /// Number of key heads and their width; `None` while the cache is empty.
    pub(super) fn heads(&self) -> Option<[usize; 2]> {
        let [_, kv_heads, _, head_dim] = self.buffers.as_ref()?.0.dims();
        Some([kv_heads, head_dim])
    }

    pub(super) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
        if self.len == 0 {
            self.buffers = None;
        }
    }

    pub(super) fn select(&mut self, rows: &[usize]) {
        if let Some((keys, values)) = self.buffers.take() {
            let rows = index_tensor(rows, &keys.device());
            self.buffers = Some((keys.select(0, rows.clone()), values.select(0, rows)));
        }
    }

    /// Adds the rows of another cache. The ends of all rows are aligned at `len`.
    pub(super) fn join(&mut self, other: Self, len: usize) {
        let both = self.buffers.take().zip(other.buffers);
        self.buffers = both.map(|((keys, values), (more_keys, more_values))| {
            let join = |first: Tensor<4>, second: Tensor<4>| {
                lay_out(vec![prefix(&first, self.len), prefix(&second, other.len)])
            };
            (join(keys, more_keys), join(values, more_values))
        });
        self.len = len;
    }

    /// Keeps some rows, without their first `dropped` positions.
    pub(super) fn keep(&mut self, rows: &[usize], dropped: usize) {
        let len = self.len;
        self.buffers = self.buffers.take().map(|(keys, values)| {
            let keep = |buffer: Tensor<4>| {
                let [batch, heads, _, dim] = buffer.dims();
                let rest = buffer.slice([0..batch, 0..heads, dropped..len, 0..dim]);
                let index = index_tensor(rows, &rest.device());
                lay_out(vec![rest.select(0, index)])
            };
            (keep(keys), keep(values))
        });
        self.len -= dropped;
    }

    /// Bytes of the buffers, free positions included.
    pub(super) fn bytes(&self) -> usize {
        let buffers = self.buffers.iter().flat_map(|(keys, values)| [keys, values]);
        buffers.map(|buffer| buffer.shape().num_elements() * buffer.dtype().size()).sum()
    }
}

fn write(buffer: Tensor<4>, new: Tensor<4>, start: usize) -> Tensor<4> {
    let [batch, heads, seq, dim] = new.dims();
    let end = start + seq;
    with_room(buffer, start, end).slice_assign([0..batch, 0..heads, start..end, 0..dim], new)
}

/// A buffer with room for `end` positions that keeps its first `len`.
fn with_room(buffer: Tensor<4>, len: usize, end: usize) -> Tensor<4> {
    let [batch, heads, capacity, dim] = buffer.dims();
    if end <= capacity {
        return buffer;
    }
    let grown = Tensor::zeros(
        [batch, heads, (2 * capacity).max(end).max(64), dim],
        (&buffer.device(), buffer.dtype()),
    );
    grown.slice_assign([0..batch, 0..heads, 0..len, 0..dim], prefix(&buffer, len))
}

fn prefix(buffer: &Tensor<4>, len: usize) -> Tensor<4> {
    let [batch, heads, capacity, dim] = buffer.dims();
    if capacity == len { buffer.clone() } else { buffer.clone().slice([0..batch, 0..heads, 0..len, 0..dim]) }
}

/// The rows of several tensors `[rows, heads, len, dim]` in one buffer, their ends aligned.
fn lay_out(parts: Vec<Tensor<4>>) -> Tensor<4> {
    let [_, heads, _, dim] = parts[0].dims();
    let rows = parts.iter().map(|part| part.dims()[0]).sum();
    let len = parts.iter().map(|part| part.dims()[2]).max().unwrap_or(0);
    let target = (&parts[0].device(), parts[0].dtype());
    let mut all = Tensor::zeros([rows, heads, len + ROOM, dim], target);
    let mut row = 0;
    for part in parts {
        let [count, _, own, _] = part.dims();
        all = all.slice_assign([row..row + count, 0..heads, len - own..len, 0..dim], part);
        row += count;
    }
    all
}

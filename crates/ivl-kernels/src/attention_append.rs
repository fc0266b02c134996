//! How new keys and values are written to a cache.

use half::f16;

use crate::attention::GroupedQueryAttention;
use crate::cached_vectors::{CacheNumber, CodedVectors};
use crate::cpu::{Kernel, Level, run};
use crate::integer::{GROUP, round_group};

impl GroupedQueryAttention<'_> {
    /// Writes new keys (or values) after the first `len` of each row of a buffer.
    ///
    /// # Shapes
    /// - `buffer`: `[batch, kv_heads, capacity, dim]`
    /// - `new`: `[batch, seq, kv_heads * dim]`
    ///
    /// # Panics
    /// If the buffer has no room for them.
    pub fn append<T: CacheNumber>(&self, buffer: &mut [T], batch: usize, len: usize, new: &[f32]) {
        let dim = self.dim;
        let capacity = buffer.len() / (batch * self.kv_heads * dim);
        self.place(capacity, batch, len, new, |head, position, new| {
            let at = (head * capacity + position) * dim;
            T::write(new, &mut buffer[at..at + dim]);
        });
    }

    /// Writes new keys (or values) as codes after the first `len` of each row. Of a number that is not finite, the group has a scale
    /// that is not a number.
    ///
    /// # Shapes
    /// - `codes`: `[batch, kv_heads, capacity, dim]`
    /// - `scales`: `[batch, kv_heads, groups, capacity]`
    /// - `new`: `[batch, seq, kv_heads * dim]`
    ///
    /// # Panics
    /// If the buffers have no room for them.
    pub fn append_codes(&self, codes: &mut [i8], scales: &mut [f16], batch: usize, len: usize, new: &[f32]) {
        run(AppendCodes { attention: self, codes, scales, batch, len, new });
    }

    /// Calls `write` with each new vector, the head of its row and its position there.
    #[inline(always)]
    fn place(
        &self,
        capacity: usize,
        batch: usize,
        len: usize,
        new: &[f32],
        mut write: impl FnMut(usize, usize, &[f32]),
    ) {
        let Self { kv_heads, dim, .. } = *self;
        let seq = new.len() / (batch * kv_heads * dim);
        assert!(len + seq <= capacity, "no room for {seq} positions after {len} of {capacity}");
        for (index, new) in new.chunks_exact(dim).enumerate() {
            let (row, position, head) = (index / (seq * kv_heads), index / kv_heads % seq, index % kv_heads);
            write(row * kv_heads + head, len + position, new);
        }
    }
}

/// See [`GroupedQueryAttention::append_codes`].
struct AppendCodes<'a> {
    attention: &'a GroupedQueryAttention<'a>,
    codes: &'a mut [i8],
    scales: &'a mut [f16],
    batch: usize,
    len: usize,
    new: &'a [f32],
}

impl Kernel for AppendCodes<'_> {
    #[inline(always)]
    fn run<L: Level>(self) {
        let Self { attention, codes, scales, batch, len, new } = self;
        let dim = attention.dim;
        let groups = CodedVectors::groups(dim);
        let capacity = codes.len() / (batch * attention.kv_heads * dim);
        attention.place(capacity, batch, len, new, |head, position, new| {
            let codes = &mut codes[(head * capacity + position) * dim..][..dim];
            for (group, (to, numbers)) in codes.chunks_mut(GROUP).zip(new.chunks(GROUP)).enumerate() {
                let mut whole = [0.0; GROUP];
                whole[..numbers.len()].copy_from_slice(numbers);
                let (codes, scale, _) = round_group(&whole);
                to.copy_from_slice(&codes[..to.len()]);
                scales[(head * groups + group) * capacity + position] = f16::from_f32(scale);
            }
        });
    }
}

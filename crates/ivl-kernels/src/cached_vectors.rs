//! Keys and values as a cache keeps them, and how new ones are written.

use half::f16;
use half::slice::HalfFloatSliceExt;

use crate::attention::GroupedQueryAttention;
use crate::cpu::{Kernel, Level, run};
use crate::integer::{GROUP, round_group};

/// Keys and values, `[batch, kv_heads, capacity, dim]`, in one of the types of a cache.
#[derive(Debug, Clone, Copy)]
pub enum KeysAndValues<'a> {
    /// In single precision.
    F32(&'a [f32], &'a [f32]),
    /// In half precision.
    F16(&'a [f16], &'a [f16]),
    /// As codes of eight bits.
    Int8(CodedVectors<'a>, CodedVectors<'a>),
}

/// Vectors of a cache as codes of eight bits: a number is its code times the scale of its group of 32 neighbours. The last group
/// of a vector may be shorter.
#[derive(Debug, Clone, Copy)]
pub struct CodedVectors<'a> {
    /// Shape `[batch, kv_heads, capacity, dim]`.
    pub codes: &'a [i8],
    /// Shape `[batch, kv_heads, groups, capacity]`.
    pub scales: &'a [f16],
}

impl CodedVectors<'_> {
    /// Neighbouring numbers that share a scale.
    pub const GROUP: usize = GROUP;

    /// Groups of a vector of `dim` numbers.
    pub const fn groups(dim: usize) -> usize {
        dim.div_ceil(GROUP)
    }
}

/// A number of a cache.
pub trait CacheNumber: bytemuck::Pod {
    /// Writes numbers in this type.
    fn write(numbers: &[f32], to: &mut [Self]);
}

impl CacheNumber for f32 {
    fn write(numbers: &[f32], to: &mut [f32]) {
        to.copy_from_slice(numbers);
    }
}

impl CacheNumber for f16 {
    fn write(numbers: &[f32], to: &mut [f16]) {
        to.convert_from_f32_slice(numbers);
    }
}

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

//! The memory of the keys, or the values, of one attention layer.

use burn::tensor::kind::Numeric;
use burn::tensor::{DType, Device, Int, Tensor};

use super::KvFormat;
use crate::tokens::index_tensor;

/// Free positions after the last one when rows are laid out in a new buffer, so that the next steps write in place.
const ROOM: usize = 64;

/// The keys, or the values, of the positions of a text, and free positions after them.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "a model has two of them for each layer")]
pub enum KvBuffer {
    /// Shape `[batch, kv_heads, capacity, head_dim]`.
    Floats(Tensor<4>),
    /// In [`KvFormat::Int8`].
    Int8 {
        /// Signed bytes, shape `[batch, kv_heads, capacity, head_dim]`.
        codes: Tensor<4, Int>,
        /// Half-precision numbers, shape `[batch, kv_heads * groups, capacity, 1]`.
        scales: Tensor<4>,
    },
}

/// Something that is done to the rows and positions of a tensor `[batch, heads, positions, width]`, of whatever kind.
trait Rearrangement {
    fn apply<K: Numeric>(&self, tensors: Vec<Tensor<4, K>>) -> Tensor<4, K>;
}

impl KvBuffer {
    /// Zeros for so many positions.
    pub(super) fn zeros(
        [batch, kv_heads, positions, dim]: [usize; 4],
        device: &Device,
        format: KvFormat,
    ) -> Self {
        let shape = [batch, kv_heads, positions, dim];
        match format {
            KvFormat::Floats(dtype) => Self::Floats(Tensor::zeros(shape, (device, dtype))),
            KvFormat::Int8 => {
                let scales = [batch, kv_heads * KvFormat::groups(dim), positions, 1];
                Self::Int8 {
                    codes: Tensor::zeros(shape, (device, DType::I8)),
                    scales: Tensor::zeros(scales, (device, DType::F16)),
                }
            }
        }
    }

    /// `[batch, kv_heads, capacity, head_dim]`.
    pub(super) fn dims(&self) -> [usize; 4] {
        match self {
            Self::Floats(numbers) => numbers.dims(),
            Self::Int8 { codes, .. } => codes.dims(),
        }
    }

    /// The first `len` positions as floats.
    ///
    /// # Panics
    /// If they are codes, which only kernels of the CPU read.
    pub(super) fn floats(&self, len: usize) -> Tensor<4> {
        match self {
            Self::Floats(numbers) => prefix(numbers.clone(), len),
            Self::Int8 { .. } => panic!("a network that computes on the CPU reads its own codes"),
        }
    }

    /// A buffer with room for `end` positions that keeps its first `len`.
    pub(super) fn with_room(self, len: usize, end: usize) -> Self {
        if end <= self.dims()[2] { self } else { Self::rearranged(vec![self], &Grow { len, end }) }
    }

    /// Some rows.
    pub(super) fn select(self, rows: &[usize]) -> Self {
        Self::rearranged(vec![self], &Select { rows })
    }

    /// Some rows without their first `dropped` positions, in a buffer of their own.
    pub(super) fn keep(self, rows: &[usize], dropped: usize, len: usize) -> Self {
        Self::rearranged(vec![self], &Keep { rows, dropped, len })
    }

    /// The rows of two buffers with so many positions each, their ends aligned.
    pub(super) fn join(self, other: Self, lens: [usize; 2]) -> Self {
        Self::rearranged(vec![self, other], &Join { lens })
    }

    /// Writes new positions after the first `start`.
    pub(super) fn write(self, new: Tensor<4>, start: usize) -> Self {
        let [batch, heads, seq, dim] = new.dims();
        let end = start + seq;
        match self.with_room(start, end) {
            Self::Floats(numbers) => {
                Self::Floats(numbers.slice_assign([0..batch, 0..heads, start..end, 0..dim], new))
            }
            Self::Int8 { .. } => panic!("a network that computes on the CPU writes its own codes"),
        }
    }

    /// Free positions included.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Floats(numbers) => bytes(numbers),
            Self::Int8 { codes, scales } => bytes(codes) + bytes(scales),
        }
    }

    /// # Panics
    /// If buffers have different formats: a network keeps one.
    fn rearranged(buffers: Vec<Self>, rearrangement: &impl Rearrangement) -> Self {
        let (mut floats, mut all_codes, mut all_scales) = (Vec::new(), Vec::new(), Vec::new());
        for buffer in buffers {
            match buffer {
                Self::Floats(numbers) => floats.push(numbers),
                Self::Int8 { codes, scales } => {
                    all_codes.push(codes);
                    all_scales.push(scales);
                }
            }
        }
        match (floats.is_empty(), all_codes.is_empty()) {
            (false, true) => Self::Floats(rearrangement.apply(floats)),
            (true, false) => {
                Self::Int8 { codes: rearrangement.apply(all_codes), scales: rearrangement.apply(all_scales) }
            }
            _ => panic!("the caches of a network have one format"),
        }
    }
}

struct Grow {
    len: usize,
    end: usize,
}

impl Rearrangement for Grow {
    fn apply<K: Numeric>(&self, tensors: Vec<Tensor<4, K>>) -> Tensor<4, K> {
        let buffer = only(tensors);
        let [batch, heads, capacity, width] = buffer.dims();
        let shape = [batch, heads, (2 * capacity).max(self.end).max(64), width];
        let grown = Tensor::zeros(shape, (&buffer.device(), buffer.dtype()));
        grown.slice_assign([0..batch, 0..heads, 0..self.len, 0..width], prefix(buffer, self.len))
    }
}

struct Select<'a> {
    rows: &'a [usize],
}

impl Rearrangement for Select<'_> {
    fn apply<K: Numeric>(&self, tensors: Vec<Tensor<4, K>>) -> Tensor<4, K> {
        pick(only(tensors), self.rows)
    }
}

struct Keep<'a> {
    rows: &'a [usize],
    dropped: usize,
    len: usize,
}

impl Rearrangement for Keep<'_> {
    fn apply<K: Numeric>(&self, tensors: Vec<Tensor<4, K>>) -> Tensor<4, K> {
        let buffer = only(tensors);
        let [batch, heads, _, width] = buffer.dims();
        let rest = buffer.slice([0..batch, 0..heads, self.dropped..self.len, 0..width]);
        lay_out(vec![pick(rest, self.rows)])
    }
}

struct Join {
    lens: [usize; 2],
}

impl Rearrangement for Join {
    fn apply<K: Numeric>(&self, tensors: Vec<Tensor<4, K>>) -> Tensor<4, K> {
        lay_out(tensors.into_iter().zip(self.lens).map(|(buffer, len)| prefix(buffer, len)).collect())
    }
}

fn only<K: Numeric>(tensors: Vec<Tensor<4, K>>) -> Tensor<4, K> {
    tensors.into_iter().next().expect("one tensor")
}

fn pick<K: Numeric>(buffer: Tensor<4, K>, rows: &[usize]) -> Tensor<4, K> {
    let index = index_tensor(rows, &buffer.device());
    buffer.select(0, index)
}

fn prefix<K: Numeric>(buffer: Tensor<4, K>, len: usize) -> Tensor<4, K> {
    let [batch, heads, capacity, width] = buffer.dims();
    if capacity == len { buffer } else { buffer.slice([0..batch, 0..heads, 0..len, 0..width]) }
}

/// The rows of several tensors `[rows, heads, len, width]` in one buffer, their ends aligned.
fn lay_out<K: Numeric>(parts: Vec<Tensor<4, K>>) -> Tensor<4, K> {
    let [_, heads, _, width] = parts[0].dims();
    let rows = parts.iter().map(|part| part.dims()[0]).sum();
    let len = parts.iter().map(|part| part.dims()[2]).max().unwrap_or(0);
    let target = (&parts[0].device(), parts[0].dtype());
    let mut all = Tensor::zeros([rows, heads, len + ROOM, width], target);
    let mut row = 0;
    for part in parts {
        let [count, _, own, _] = part.dims();
        all = all.slice_assign([row..row + count, 0..heads, len - own..len, 0..width], part);
        row += count;
    }
    all
}

fn bytes<K: Numeric>(tensor: &Tensor<4, K>) -> usize {
    tensor.shape().num_elements() * tensor.dtype().size()
}

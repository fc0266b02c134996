//! RowWeights that join a batch and leave it.
//!
//! All rows of a cache end at the same position. A row that joins is aligned with the others at its end, and the longest
//! row sets the length; what is missing at the beginning of the others is left padding, as in a batch of prompts.

use burn::tensor::{Int, Tensor};

use super::{Cache, KvCache, LayerCache, prefix};
use crate::causal_lm::index_tensor;

/// Free positions behind the last one when rows are laid out anew, so that the next steps write in place.
const ROOM: usize = 64;

impl KvCache {
    fn join(&mut self, other: Self, len: usize) {
        let both = self.buffers.take().zip(other.buffers);
        self.buffers = both.map(|((keys, values), (more_keys, more_values))| {
            let join = |first: Tensor<4>, second: Tensor<4>| {
                lay_out(vec![prefix(&first, self.len), prefix(&second, other.len)])
            };
            (join(keys, more_keys), join(values, more_values))
        });
        self.len = len;
    }

    fn keep(&mut self, rows: &[usize], dropped: usize) {
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

    fn bytes(&self) -> usize {
        let buffers = self.buffers.iter().flat_map(|(keys, values)| [keys, values]);
        buffers.map(|buffer| buffer.shape().num_elements() * buffer.dtype().size()).sum()
    }
}

/// RowWeights of several tensors `[rows, heads, len, dim]` in one buffer, their ends aligned.
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

impl LayerCache {
    fn join(&mut self, mut other: Self) {
        if other.padding.is_empty() {
            return;
        }
        if self.padding.is_empty() {
            *self = other;
            return;
        }
        let len = self.len.max(other.len);
        for cache in [&mut *self, &mut other] {
            let missing = len - cache.len;
            cache.padding.iter_mut().for_each(|padding| *padding += missing);
            cache.history = cache.history.take().map(|history| pad_left(history, missing));
        }
        self.padding.append(&mut other.padding);
        self.history = self.history.take().zip(other.history).map(|(a, b)| Tensor::cat(vec![a, b], 0));
        for (layer, more) in self.layers.iter_mut().zip(other.layers) {
            layer.join(more, len);
        }
        self.len = len;
        // Every row has been read to its end, so nothing is announced any more; each is one text from now on.
        (self.expected, self.segments) = (0, None);
    }

    fn keep(&mut self, rows: &[usize]) {
        let kept: Vec<usize> = rows.iter().map(|&row| self.padding[row]).collect();
        let Some(&dropped) = kept.iter().min() else {
            *self = Self::new(self.layers.len(), &[]).with_stride(self.stride);
            return;
        };
        self.layers.iter_mut().for_each(|layer| layer.keep(rows, dropped));
        self.padding = kept.into_iter().map(|padding| padding - dropped).collect();
        if let Some(segments) = &mut self.segments {
            *segments = rows.iter().map(|&row| segments[row].clone()).collect();
        }
        self.history = self.history.take().map(|history| {
            let [_, len] = history.dims();
            let index = index_tensor(rows, &history.device());
            history.select(0, index).slice([0..rows.len(), dropped..len])
        });
        self.len -= dropped;
        self.expected = self.expected.saturating_sub(dropped);
    }
}

fn pad_left(tokens: Tensor<2, Int>, missing: usize) -> Tensor<2, Int> {
    let padding = Tensor::zeros([tokens.dims()[0], missing], &tokens.device());
    if missing == 0 { tokens } else { Tensor::cat(vec![padding, tokens], 1) }
}

impl Cache {
    /// Adds the rows of another cache of the same model behind those here. Lengths may differ: ends are aligned.
    ///
    /// # Panics
    /// If the caches are of models of different structure, or of one with a gate, whose values lag differently.
    pub fn join(&mut self, other: Self) {
        match (self, other) {
            (Self::Layers(cache), Self::Layers(other)) => cache.join(other),
            (Self::Fused(parts), Self::Fused(others)) if parts.len() == others.len() => {
                parts.iter_mut().zip(others).for_each(|(part, other)| part.join(other));
            }
            (Self::Text(cache), Self::Text(other)) => cache.join(other),
            _ => panic!("the caches of two different models cannot be joined"),
        }
    }

    /// Keeps the given rows, in the given order, as [`select`](Self::select) does, and drops positions at the beginning
    /// that are padding in all of them.
    ///
    /// # Panics
    /// If a row is outside the batch, or the model has a gate.
    pub fn keep(&mut self, rows: &[usize]) {
        match self {
            Self::Layers(cache) => cache.keep(rows),
            Self::Fused(parts) => parts.iter_mut().for_each(|part| part.keep(rows)),
            Self::Text(cache) => cache.keep(rows),
            Self::Gated(_) => panic!("rows of a gated model were taken out of a batch"),
        }
    }

    /// The base's part of the cache of a model with so many values, those of a base with values included.
    ///
    /// # Panics
    /// If the model has a gate, or another number of values: always a bug of the caller.
    pub(crate) fn of_base(&mut self, values: usize) -> &mut Self {
        match self {
            cache if values == 0 => cache,
            Self::Fused(parts) => {
                let own = parts.len() - 1;
                parts[0].of_base(values - own)
            }
            _ => panic!("the values of a gated model lag differently in each row of a batch"),
        }
    }

    /// The values' parts, in the order of their weights.
    ///
    /// # Panics
    /// As [`of_base`](Self::of_base).
    pub(crate) fn of_values(&mut self, values: usize) -> Vec<&mut Self> {
        match self {
            _ if values == 0 => Vec::new(),
            Self::Fused(parts) => {
                let own = parts.len() - 1;
                let (base, parts) = parts.split_at_mut(1);
                let mut all = base[0].of_values(values - own);
                all.extend(parts);
                all
            }
            _ => panic!("the values of a gated model lag differently in each row of a batch"),
        }
    }

    /// Whether keys hold for texts of some lengths alone, so that tokens were kept to be read again.
    pub fn depends_on_length(&self) -> bool {
        match self {
            Self::Layers(cache) => cache.history.is_some(),
            Self::Fused(parts) => parts.iter().any(Self::depends_on_length),
            Self::Text(cache) => cache.caches().any(Self::depends_on_length),
            Self::Gated(cache) => cache.caches().any(Self::depends_on_length),
        }
    }

    /// Bytes of the buffers, free positions included.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Layers(cache) => cache.layers.iter().map(KvCache::bytes).sum(),
            Self::Fused(parts) => parts.iter().map(Self::bytes).sum(),
            Self::Text(cache) => cache.caches().map(Self::bytes).sum(),
            Self::Gated(cache) => cache.caches().map(Self::bytes).sum(),
        }
    }
}

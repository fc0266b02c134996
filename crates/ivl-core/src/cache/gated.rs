//! The cache of a base whose values are not consulted at every position.

use burn::tensor::{Int, Tensor};

use crate::tokens::index_tensor;

/// Cached state of base and values. The values lag: they read the missing tokens when they are next consulted.
///
/// `C` is [`Cache`](super::Cache), whose file uses this one.
#[derive(Debug, Clone)]
pub struct GatedCache<C> {
    pub(crate) base: Box<C>,
    pub(crate) values: Vec<C>,
    /// Every token that the base has read. Shape `[rows, len]`.
    tokens: Option<Tensor<2, Int>>,
    padding: Vec<usize>,
    prompt: Option<usize>,
}

impl<C> GatedCache<C> {
    pub(crate) fn new(base: C, values: Vec<C>, padding: &[usize]) -> Self {
        Self { base: Box::new(base), values, tokens: None, padding: padding.to_vec(), prompt: None }
    }

    /// The index of the token that is predicted at a position of a row: counted from the end of the prompt, or from the
    /// first token if no end of the prompt was announced. `None` in padding and before the prompt's end.
    pub(crate) fn predicted(&self, row: usize, position: usize) -> Option<usize> {
        let first = self.prompt.map_or(0, |prompt| prompt.saturating_sub(1)).max(self.padding[row]);
        position.checked_sub(first)
    }

    /// Adds tokens that the base has read.
    pub(crate) fn remember(&mut self, tokens: Tensor<2, Int>) {
        self.tokens = Some(match self.tokens.take() {
            Some(before) => Tensor::cat(vec![before, tokens], 1),
            None => tokens,
        });
    }

    /// Tokens `from..to` of every row.
    ///
    /// # Panics
    /// If they were not read.
    pub(crate) fn tokens(&self, from: usize, to: usize) -> Tensor<2, Int> {
        let tokens = self.tokens.clone().expect("the base has read tokens");
        let rows = tokens.dims()[0];
        tokens.slice([0..rows, from..to])
    }

    pub(super) fn caches_mut(&mut self) -> impl Iterator<Item = &mut C> {
        std::iter::once(&mut *self.base).chain(&mut self.values)
    }

    pub(super) fn caches(&self) -> impl Iterator<Item = &C> {
        std::iter::once(&*self.base).chain(&self.values)
    }

    pub(super) fn set_prompt_len(&mut self, len: usize) {
        self.prompt = Some(len);
    }

    /// Forgets the tokens from `len` on, but not what the caches hold of them.
    pub(super) fn truncate_tokens(&mut self, len: usize) {
        self.tokens = self.tokens.take().filter(|_| len > 0).map(|tokens| {
            let [rows, held] = tokens.dims();
            tokens.slice([0..rows, 0..held.min(len)])
        });
    }

    /// Keeps the tokens of the given rows, but not their part of the caches.
    pub(super) fn select_tokens(&mut self, rows: &[usize]) {
        self.padding = rows.iter().map(|&row| self.padding[row]).collect();
        self.tokens = self.tokens.take().map(|tokens| {
            let index = index_tensor(rows, &tokens.device());
            tokens.select(0, index)
        });
    }
}

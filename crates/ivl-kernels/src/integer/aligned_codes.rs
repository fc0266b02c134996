//! Memory for codes.

use crate::cpu::{CACHE_LINE, INPUTS};

/// Codes of steps of inputs, which begin at a line of the cache.
#[derive(Debug, Default)]
pub(super) struct AlignedCodes {
    codes: Vec<[i8; INPUTS]>,
    first: usize,
}

impl AlignedCodes {
    /// Zeros for so many steps.
    pub(super) fn zeroed(len: usize) -> Self {
        let codes = vec![[0; INPUTS]; len + CACHE_LINE / INPUTS];
        let first = (codes.as_ptr() as usize).wrapping_neg() % CACHE_LINE / INPUTS;
        Self { codes, first }
    }

    /// Memory for so many steps: this, if it is enough.
    pub(super) fn with_room(self, len: usize) -> Self {
        if self.codes.len() >= len + CACHE_LINE / INPUTS { self } else { Self::zeroed(len) }
    }

    /// The steps, and some more.
    #[inline(always)]
    pub(super) fn steps(&self) -> &[[i8; INPUTS]] {
        &self.codes[self.first..]
    }

    /// The steps, and some more.
    #[inline(always)]
    pub(super) fn steps_mut(&mut self) -> &mut [[i8; INPUTS]] {
        &mut self.codes[self.first..]
    }
}

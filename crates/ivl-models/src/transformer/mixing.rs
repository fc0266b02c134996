//! What recurrent layers have in common.

use std::ops::Range;

use ivl_core::cache::{LayerMemory, RecurrentState};

use super::ages::Ages;
use super::ops::{self, Activations};

/// What a recurrent layer knows of the positions that it reads.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading<'a> {
    /// How far they are in their texts.
    pub(super) ages: &'a Ages,
    /// The place among them where the state is kept apart; see [`LayerCache::mark`](ivl_core::cache::LayerCache::mark).
    pub(super) mark: Option<usize>,
}

impl Reading<'_> {
    /// Lets `mix` read the positions in order, at once or, if there is a mark, up to it and then the rest.
    pub(super) fn mix(
        self,
        memory: &mut LayerMemory,
        mix: impl Fn(Range<usize>, &Ages, &mut RecurrentState) -> Activations,
    ) -> Activations {
        let Some(mark) = self.mark else {
            return mix(0..self.ages.seq, self.ages, &mut memory.state);
        };
        let (before, after) = (0..mark, mark..self.ages.seq);
        let first = mix(before.clone(), &self.ages.at(before), &mut memory.state);
        memory.marked = Some(memory.state.clone());
        let second = mix(after.clone(), &self.ages.at(after), &mut memory.state);
        ops::one_after_the_other(first, second)
    }
}

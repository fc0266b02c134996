//! States at earlier lengths of a text, to go back to.

use super::RecurrentState;

/// Snapshots that are kept of one text.
pub const MOST_SNAPSHOTS: usize = 4;

/// Single positions between two snapshots.
const SPACING: usize = 16;

/// The states of all layers after some beginnings of a text, the shortest first. They are handles: a snapshot costs memory, no
/// copy.
#[derive(Debug, Clone, Default)]
pub(super) struct Snapshots {
    taken: Vec<Snapshot>,
}

#[derive(Debug, Clone)]
pub(super) struct Snapshot {
    /// Positions that were read.
    pub(super) len: usize,
    /// The state of each layer, empty for attention.
    pub(super) states: Vec<RecurrentState>,
}

impl Snapshots {
    /// Whether states are worth keeping before `seq` positions are read after `len`: many are forgotten together, single ones one
    /// by one.
    pub(super) fn wants(&self, len: usize, seq: usize) -> bool {
        match self.taken.last() {
            None => true,
            Some(last) if seq > 1 => last.len != len,
            Some(last) => last.len + SPACING <= len,
        }
    }

    /// Adds a snapshot after the others. Of too many, one goes whose neighbours are close together; the last two stay, since texts
    /// are mostly cut back by a few tokens.
    pub(super) fn push(&mut self, snapshot: Snapshot) {
        self.taken.push(snapshot);
        if self.taken.len() > MOST_SNAPSHOTS {
            let distance = |at: &usize| {
                let before = at.checked_sub(1).map_or(0, |before| self.taken[before].len);
                self.taken[at + 1].len - before
            };
            let closest = (0..self.taken.len() - 2).min_by_key(distance).unwrap_or(0);
            self.taken.remove(closest);
        }
    }

    /// The longest snapshot of at most `len` positions; those that are longer go.
    pub(super) fn back_to(&mut self, len: usize) -> Option<&Snapshot> {
        self.taken.retain(|snapshot| snapshot.len <= len);
        self.taken.last()
    }

    /// The length of the longest snapshot of at most `len` positions.
    pub(super) fn longest(&self, len: usize) -> Option<usize> {
        self.taken.iter().rev().map(|snapshot| snapshot.len).find(|&own| own <= len)
    }

    pub(super) fn clear(&mut self) {
        self.taken.clear();
    }

    /// Drops the first positions of the text, which are padding.
    pub(super) fn drop_positions(&mut self, dropped: usize) {
        self.taken.retain(|snapshot| snapshot.len > dropped);
        self.taken.iter_mut().for_each(|snapshot| snapshot.len -= dropped);
    }

    pub(super) fn bytes(&self) -> usize {
        self.taken.iter().flat_map(|snapshot| &snapshot.states).map(RecurrentState::bytes).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(lens: &[usize]) -> Snapshots {
        let mut snapshots = Snapshots::default();
        for &len in lens {
            snapshots.push(Snapshot { len, states: Vec::new() });
        }
        snapshots
    }

    fn lens(snapshots: &Snapshots) -> Vec<usize> {
        snapshots.taken.iter().map(|snapshot| snapshot.len).collect()
    }

    #[test]
    fn few_snapshots_stay_spread_over_the_text_and_the_last_two() {
        assert_eq!(lens(&taken(&[100, 200, 300, 316, 332])), [100, 200, 316, 332]);
        assert_eq!(lens(&taken(&[100, 200, 300, 316, 332, 348])), [100, 200, 332, 348]);
        let mut snapshots = taken(&[10, 20, 30]);
        assert_eq!((snapshots.longest(25), snapshots.longest(9)), (Some(20), None));
        assert_eq!(snapshots.back_to(29).map(|snapshot| snapshot.len), Some(20));
        assert!(snapshots.back_to(9).is_none() && lens(&snapshots).is_empty());
    }

    #[test]
    fn passes_over_several_positions_begin_with_a_snapshot_and_single_steps_now_and_then() {
        let snapshots = taken(&[10]);
        assert!(!snapshots.wants(10, 5) && snapshots.wants(11, 5));
        assert!(!snapshots.wants(25, 1) && snapshots.wants(26, 1) && taken(&[]).wants(3, 1));
    }
}

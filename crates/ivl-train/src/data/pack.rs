//! Best-fit decreasing bin packing.

use std::collections::BTreeMap;

/// Puts items into as few bins of a capacity as it easily can: the longest item first, each into the fullest bin that
/// still has room for it. It never needs more than 11/9 of the least number of bins, plus one (Johnson, 1974).
///
/// Items of one length keep their order, so that a shuffled order meets other neighbours. Returns indices of items, bin
/// by bin.
///
/// # Panics
/// If an item is longer than the capacity.
pub fn best_fit_decreasing(lens: &[usize], capacity: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lens.len()).collect();
    order.sort_by_key(|&item| std::cmp::Reverse(lens[item]));
    let mut bins: Vec<Vec<usize>> = Vec::new();
    // Bins by the room that they have left.
    let mut by_room: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for item in order {
        let len = lens[item];
        assert!(len <= capacity, "an item of {len} does not fit into {capacity}");
        let fullest = by_room.range_mut(len..).next().map(|(&room, bins)| (room, bins.pop()));
        let (room, bin) = if let Some((room, Some(bin))) = fullest {
            if by_room[&room].is_empty() {
                by_room.remove(&room);
            }
            (room, bin)
        } else {
            bins.push(Vec::new());
            (capacity, bins.len() - 1)
        };
        bins[bin].push(item);
        by_room.entry(room - len).or_default().push(bin);
    }
    bins
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every bin looked at, for every item.
    fn by_hand(lens: &[usize], capacity: usize) -> usize {
        let mut sorted = lens.to_vec();
        sorted.sort_unstable_by(|a, b| b.cmp(a));
        let mut rooms: Vec<usize> = Vec::new();
        for len in sorted {
            match rooms.iter_mut().filter(|room| **room >= len).min() {
                Some(room) => *room -= len,
                None => rooms.push(capacity - len),
            }
        }
        rooms.len()
    }

    #[test]
    fn a_worked_example() {
        // 8, 7, 5, 4, 3, 2 into 10: 8+2, 7+3, 5+4.
        let bins = best_fit_decreasing(&[2, 4, 8, 5, 7, 3], 10);
        assert_eq!(bins, [vec![2, 0], vec![4, 5], vec![3, 1]]);
    }

    #[test]
    fn every_item_is_in_one_bin_none_overflows_and_none_is_wasted() {
        let mut state = 1_u64;
        for round in 0..200 {
            let mut next = |bound: u64| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) % bound
            };
            let capacity = 1 + next(60) as usize;
            let lens: Vec<usize> = (0..round).map(|_| next(capacity as u64 + 1) as usize).collect();
            let bins = best_fit_decreasing(&lens, capacity);
            let mut seen: Vec<usize> = bins.concat();
            seen.sort_unstable();
            assert_eq!(seen, (0..lens.len()).collect::<Vec<_>>());
            assert!(bins.iter().all(|bin| bin.iter().map(|&item| lens[item]).sum::<usize>() <= capacity));
            assert_eq!(bins.len(), by_hand(&lens, capacity), "{lens:?} into {capacity}");
        }
    }
}

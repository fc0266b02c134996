//! A queue in which clients take turns.

use std::collections::VecDeque;

/// Waiting items that are looked at for one that can start.
const SCANNED: usize = 64;

/// How many later items may start before an item that cannot start yet: after them it is next, whatever comes.
const MOST_OVERTAKEN: usize = 32;

/// First come, first served for each client; clients take turns. An item that cannot start yet does not block those after
/// it, but they cannot overtake it for ever.
#[derive(Debug)]
pub(crate) struct FairQueue<K, T> {
    lines: VecDeque<(K, VecDeque<Waiting<T>>)>,
}

#[derive(Debug)]
struct Waiting<T> {
    item: T,
    overtaken: usize,
}

impl<K: PartialEq, T> FairQueue<K, T> {
    pub(crate) fn new() -> Self {
        Self { lines: VecDeque::new() }
    }

    /// Puts an item at the end of its client's line.
    pub(crate) fn push(&mut self, client: K, item: T) {
        let waiting = Waiting { item, overtaken: 0 };
        match self.lines.iter_mut().find(|(key, _)| *key == client) {
            Some((_, line)) => line.push_back(waiting),
            None => self.lines.push_back((client, VecDeque::from([waiting]))),
        }
    }

    /// Takes the first item that can start; its client goes to the end. `None` if none can, or if one that cannot was
    /// overtaken too often.
    pub(crate) fn pop_first(&mut self, can_start: impl Fn(&T) -> bool) -> Option<T> {
        let places: Vec<(usize, usize)> = self.in_turn().take(SCANNED).collect();
        for &(line, depth) in &places {
            let waiting = &self.lines[line].1[depth];
            if can_start(&waiting.item) {
                return Some(self.take(line, depth, &places));
            }
            if waiting.overtaken >= MOST_OVERTAKEN {
                return None;
            }
        }
        None
    }

    /// Places of all items, as line and depth in it, in the order in which they take turns.
    fn in_turn(&self) -> impl Iterator<Item = (usize, usize)> {
        let deepest = self.lines.iter().map(|(_, line)| line.len()).max().unwrap_or(0);
        let at = move |depth| {
            let lines = self.lines.iter().enumerate();
            lines.filter(move |(_, (_, line))| line.len() > depth).map(move |(line, _)| (line, depth))
        };
        (0..deepest).flat_map(at)
    }

    fn take(&mut self, line: usize, depth: usize, places: &[(usize, usize)]) -> T {
        for &(line, depth) in places.iter().take_while(|place| **place != (line, depth)) {
            self.lines[line].1[depth].overtaken += 1;
        }
        let (client, mut items) = self.lines.remove(line).expect("the place of an item");
        let taken = items.remove(depth).expect("the place of an item").item;
        if !items.is_empty() {
            self.lines.push_back((client, items));
        }
        taken
    }

    /// Drops items.
    pub(crate) fn retain(&mut self, keep: impl Fn(&T) -> bool) {
        self.lines.iter_mut().for_each(|(_, line)| line.retain(|waiting| keep(&waiting.item)));
        self.lines.retain(|(_, line)| !line.is_empty());
    }

    /// Items in all lines.
    pub(crate) fn len(&self) -> usize {
        self.lines.iter().map(|(_, line)| line.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(items: &[(&'static str, i32)]) -> FairQueue<&'static str, i32> {
        let mut queue = FairQueue::new();
        for (client, item) in items {
            queue.push(*client, *item);
        }
        queue
    }

    #[test]
    fn clients_take_turns_and_each_keeps_its_order() {
        let mut queue = queue(&[("a", 1), ("a", 2), ("a", 3), ("b", 4), ("c", 5), ("b", 6)]);
        assert_eq!(queue.len(), 6);
        let order: Vec<i32> = std::iter::from_fn(|| queue.pop_first(|_| true)).collect();
        assert_eq!(order, [1, 4, 5, 2, 6, 3]);
    }

    #[test]
    fn an_item_that_cannot_start_blocks_nobody_at_first_and_is_not_forgotten() {
        let mut queue = queue(&[("a", -1)]);
        for item in 0..MOST_OVERTAKEN as i32 {
            queue.push(if item % 2 == 0 { "a" } else { "b" }, item);
            assert_eq!(queue.pop_first(|item| *item >= 0), Some(item));
        }
        queue.push("b", 99);
        assert_eq!(queue.pop_first(|item| *item >= 0), None, "it has waited long enough");
        assert_eq!(queue.pop_first(|_| true), Some(-1));
        assert_eq!(queue.pop_first(|item| *item >= 0), Some(99));
    }

    #[test]
    fn what_is_dropped_leaves_no_empty_line() {
        let mut queue = queue(&[("a", 1), ("b", 2), ("b", 3)]);
        queue.retain(|item| *item == 3);
        assert_eq!((queue.len(), queue.pop_first(|_| true), queue.pop_first(|_| true)), (1, Some(3), None));
    }
}

//! A queue in which clients take turns.

use std::collections::VecDeque;

/// First come, first served for each client; among clients, one after the other.
#[derive(Debug)]
pub(crate) struct FairQueue<K, T> {
    lines: VecDeque<(K, VecDeque<T>)>,
}

impl<K: PartialEq, T> FairQueue<K, T> {
    pub(crate) fn new() -> Self {
        Self { lines: VecDeque::new() }
    }

    /// Puts an item at the end of its client's line.
    pub(crate) fn push(&mut self, client: K, item: T) {
        match self.lines.iter_mut().find(|(key, _)| *key == client) {
            Some((_, line)) => line.push_back(item),
            None => self.lines.push_back((client, VecDeque::from([item]))),
        }
    }

    /// The item whose turn it is.
    pub(crate) fn peek(&self) -> Option<&T> {
        self.lines.front().and_then(|(_, line)| line.front())
    }

    /// Takes the item whose turn it is; its client goes to the end.
    pub(crate) fn pop(&mut self) -> Option<T> {
        let (client, mut line) = self.lines.pop_front()?;
        let item = line.pop_front();
        if !line.is_empty() {
            self.lines.push_back((client, line));
        }
        item
    }

    /// Drops items.
    pub(crate) fn retain(&mut self, keep: impl Fn(&T) -> bool) {
        self.lines.iter_mut().for_each(|(_, line)| line.retain(&keep));
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

    #[test]
    fn clients_take_turns_and_each_keeps_its_order() {
        let mut queue = FairQueue::new();
        for (client, item) in [("a", 1), ("a", 2), ("a", 3), ("b", 4), ("c", 5), ("b", 6)] {
            queue.push(client, item);
        }
        assert_eq!((queue.len(), queue.peek()), (6, Some(&1)));
        let order: Vec<i32> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(order, [1, 4, 5, 2, 6, 3]);
    }

    #[test]
    fn what_is_dropped_leaves_no_empty_line() {
        let mut queue = FairQueue::new();
        for (client, item) in [("a", 1), ("b", 2), ("b", 3)] {
            queue.push(client, item);
        }
        queue.retain(|item| *item == 3);
        assert_eq!((queue.len(), queue.pop(), queue.pop()), (1, Some(3), None));
    }
}

//! The caches of all layers of one transformer.

use std::ops::Range;

use super::history::{History, Inputs};
use super::snapshots::{Snapshot, Snapshots};
use super::{LayerMemory, LayerShape};
use crate::error::Error;

/// The text that a position of a row belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Index in the row of its first token.
    pub start: usize,
    /// Its tokens; the tokens known so far if its length was not announced.
    pub len: usize,
}

/// The caches of one transformer: its layers, the number of positions that they hold, the left padding of each row, and
/// the texts in each row.
///
/// Keys and values can be cut back to any length; the state of a recurrent layer cannot. A cache with states therefore keeps the
/// inputs of the model ([`remember`](Self::remember)) and a few snapshots of the states. When it is cut back, it goes to the
/// nearest snapshot before, and what is then missing ([`unread`](Self::unread)) is read again together with the next tokens. So
/// cutting back costs time at most, and changes no logit.
#[derive(Debug, Clone)]
pub struct LayerCache {
    layers: Vec<LayerMemory>,
    padding: Vec<usize>,
    segments: Option<Vec<Vec<usize>>>,
    /// Positions of the text.
    len: usize,
    /// Positions that the layers hold: all of them, but for those that have to be read again.
    held: usize,
    expected: usize,
    stride: usize,
    /// Rows that the network reads for each row of the batch; they lie side by side.
    copies: usize,
    history: History,
    snapshots: Snapshots,
}

impl LayerCache {
    /// An empty cache for `layers` layers; row `r` of the batch starts with `padding[r]` positions to be ignored.
    pub fn new(layers: usize, padding: &[usize]) -> Self {
        Self {
            layers: vec![LayerMemory::default(); layers],
            padding: padding.to_vec(),
            segments: None,
            len: 0,
            held: 0,
            expected: 0,
            stride: 1,
            copies: 1,
            history: History::default(),
            snapshots: Snapshots::default(),
        }
    }

    /// For a network that reads `stride` positions for each token. Padding and lengths of this type count positions, those
    /// of [`Cache`](super::Cache) tokens.
    #[must_use]
    pub fn with_stride(mut self, stride: usize) -> Self {
        self.padding.iter_mut().for_each(|padding| *padding *= stride);
        Self { stride, ..self }
    }

    /// For a network that reads each row of the batch `copies` times, in rows side by side. Rows of this type are those of the
    /// network ([`padding`](Self::padding) has one entry for each), those of [`Cache`](super::Cache) are the batch's.
    #[must_use]
    pub fn with_copies(mut self, copies: usize) -> Self {
        self.padding = self.padding.iter().flat_map(|&padding| vec![padding; copies]).collect();
        Self { copies, ..self }
    }

    /// The network's rows for rows of the batch.
    fn rows_of(&self, batch: &[usize]) -> Vec<usize> {
        batch.iter().flat_map(|row| row * self.copies..(row + 1) * self.copies).collect()
    }

    /// Rows of the batch.
    fn batch(&self) -> usize {
        self.padding.len() / self.copies
    }

    /// Positions of the text so far, padding included.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Positions that the layers hold, padding included: those that the next ones of the layers follow.
    pub fn held(&self) -> usize {
        self.held
    }

    /// The last positions of the text that the layers do not hold, since it was cut back to where there was no snapshot.
    pub fn unread(&self) -> usize {
        self.len - self.held
    }

    /// Whether the text has no position.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Tokens held, padding included.
    pub(super) fn tokens(&self) -> usize {
        self.len / self.stride
    }

    /// Number of layers.
    pub fn num_layers(&self) -> usize {
        self.layers.len()
    }

    /// Positions of left padding, for each row.
    pub fn padding(&self) -> &[usize] {
        &self.padding
    }

    /// Refuses to go on with what layers of other shapes hold.
    ///
    /// # Errors
    /// [`Error::ForeignCache`].
    pub fn check_shapes(&self, expected: impl Iterator<Item = LayerShape>) -> Result<(), Error> {
        if self.held == 0 || self.padding.is_empty() {
            return Ok(());
        }
        let different = self.layers.iter().zip(expected).find(|(layer, expected)| layer.shape() != *expected);
        match different {
            Some((layer, expected)) => {
                Err(Error::ForeignCache { expected: expected.to_string(), got: layer.shape().to_string() })
            }
            None => Ok(()),
        }
    }

    /// Refuses to go on with the rows of a network that reads each row of the batch another number of times.
    ///
    /// # Errors
    /// [`Error::ForeignCache`].
    pub fn check_copies(&self, expected: usize) -> Result<(), Error> {
        if self.copies == expected {
            return Ok(());
        }
        let described = |copies| format!("one of a network that reads each row {copies} times");
        Err(Error::ForeignCache { expected: described(expected), got: described(self.copies) })
    }

    /// Announces the texts in each row; see [`Cache::segment`](super::Cache::segment).
    ///
    /// # Errors
    /// [`Error::InvalidSetting`] unless there is a list of lengths for each row.
    pub fn segment(&mut self, rows: &[Vec<usize>]) -> Result<(), Error> {
        if rows.len() != self.batch() {
            return Err(Error::InvalidSetting {
                name: "segments",
                expected: "a list of lengths for each row of the cache",
                got: format!("{} lists for {} rows", rows.len(), self.batch()),
            });
        }
        let positions =
            |row: &Vec<usize>| vec![row.iter().map(|len| len * self.stride).collect(); self.copies];
        self.segments = Some(rows.iter().flat_map(positions).collect());
        Ok(())
    }

    /// Whether the lengths of the texts in each row are given.
    pub fn is_segmented(&self) -> bool {
        self.segments.is_some()
    }

    /// The segments that the positions of a row belong to, one for each position. Right padding after the last segment
    /// counts as more of it.
    pub fn segments(&self, row: usize, positions: Range<usize>) -> impl Iterator<Item = Segment> {
        let known = positions.end.max(self.expected).max(self.len);
        let start = self.padding[row];
        let whole = [known.saturating_sub(start)];
        let lens = self.segments.as_ref().map_or(whole.to_vec(), |rows| rows[row].clone());
        let mut lens = lens.into_iter();
        let mut segment = Segment { start, len: lens.next().unwrap_or(0) };
        positions.map(move |position| {
            while position >= segment.start + segment.len
                && let Some(len) = lens.next()
            {
                segment = Segment { start: segment.start + segment.len, len };
            }
            segment
        })
    }

    /// The length that the text is known to reach, padding included; see
    /// [`Cache::set_expected_len`](super::Cache::set_expected_len).
    pub fn expected_len(&self) -> usize {
        self.expected
    }

    /// Announces the length that the text will reach, in tokens.
    pub fn set_expected_len(&mut self, tokens: usize) {
        self.expected = self.expected.max(tokens * self.stride);
    }

    /// Keeps inputs that are about to be read, for models that may have to read them again: those with recurrent layers, and those
    /// whose position encoding changes at some length.
    pub fn remember(&mut self, inputs: Inputs) {
        self.history.push(inputs);
    }

    /// Inputs that were [remembered](Self::remember).
    ///
    /// # Panics
    /// If there are none at these positions.
    pub fn remembered(&self, positions: Range<usize>) -> Inputs {
        self.history.at(positions)
    }

    /// Forgets what the layers hold, so that all of the text is unread; remembered inputs stay.
    pub fn restart(&mut self) {
        self.held = 0;
        self.snapshots.clear();
        self.layers = vec![LayerMemory::default(); self.layers.len()];
    }

    /// What one layer keeps.
    ///
    /// # Panics
    /// If there is no such layer.
    pub fn layer(&mut self, index: usize) -> &mut LayerMemory {
        &mut self.layers[index]
    }

    /// The place among `seq` positions that are about to be read where recurrent layers keep their state apart
    /// ([`LayerMemory::marked`]): the end of the positions that are read again. States are kept of single texts only: rows of a
    /// batch are not cut back when they are decoded.
    pub fn mark(&mut self, seq: usize) -> Option<usize> {
        if self.batch() != 1 || !self.is_recurrent() && self.unread() == 0 {
            return None;
        }
        if self.unread() > 0 {
            return Some(self.unread()).filter(|&unread| unread < seq);
        }
        if self.snapshots.wants(self.held, seq) {
            let states = self.layers.iter().map(|layer| layer.state.clone()).collect();
            self.snapshots.push(Snapshot { len: self.held, states });
        }
        None
    }

    /// Records that every layer has seen `seq` more positions.
    pub fn advance(&mut self, seq: usize) {
        if self.layers.iter().any(|layer| layer.marked.is_some()) {
            let states = self.layers.iter_mut().map(|layer| layer.marked.take().unwrap_or_default());
            self.snapshots.push(Snapshot { len: self.len, states: states.collect() });
        }
        self.held += seq;
        self.len = self.len.max(self.held);
    }

    /// Whether layers keep states.
    fn is_recurrent(&self) -> bool {
        self.layers.iter().any(|layer| !layer.state.is_empty())
    }

    /// Whether keys hold only for texts of some lengths, so that tokens were kept to be read again.
    pub(super) fn depends_on_length(&self) -> bool {
        !self.history.is_empty() && self.held > 0 && !self.is_recurrent()
    }

    /// The longest beginning of at most `tokens` tokens that can be gone on from without reading any of it again.
    pub(super) fn resumable(&self, tokens: usize) -> usize {
        let len = (tokens * self.stride).min(self.len);
        if len >= self.held || self.is_recurrent() {
            let held = Some(self.held).filter(|&held| held <= len);
            return held.or_else(|| self.snapshots.longest(len)).unwrap_or(0) / self.stride;
        }
        len / self.stride
    }

    pub(super) fn truncate(&mut self, tokens: usize) {
        let len = tokens * self.stride;
        if len >= self.len {
            return;
        }
        self.len = len;
        self.history.truncate(len);
        if len >= self.held {
            return;
        }
        if !self.is_recurrent() {
            self.hold(len);
            return;
        }
        match self.snapshots.back_to(len).cloned() {
            Some(snapshot) => {
                self.hold(snapshot.len);
                for (layer, state) in self.layers.iter_mut().zip(snapshot.states) {
                    layer.state = state;
                }
            }
            None => self.restart(),
        }
    }

    /// Cuts keys and values back.
    fn hold(&mut self, len: usize) {
        self.held = len;
        self.layers.iter_mut().for_each(|layer| layer.keys.truncate(len));
    }

    pub(super) fn select(&mut self, rows: &[usize]) {
        let rows = &self.rows_of(rows)[..];
        self.padding = rows.iter().map(|&row| self.padding[row]).collect();
        self.select_segments(rows);
        self.layers.iter_mut().for_each(|layer| layer.select(rows));
        self.history.select(rows, 0);
        self.snapshots.clear();
    }

    fn select_segments(&mut self, rows: &[usize]) {
        if let Some(segments) = &mut self.segments {
            *segments = rows.iter().map(|&row| segments[row].clone()).collect();
        }
    }

    pub(super) fn join(&mut self, mut other: Self) {
        if other.padding.is_empty() {
            return;
        }
        if self.padding.is_empty() {
            *self = other;
            return;
        }
        let all_held = self.unread() + other.unread() == 0;
        if !all_held {
            self.restart();
            other.restart();
        }
        let len = self.len.max(other.len);
        for cache in [&mut *self, &mut other] {
            let missing = len - cache.len;
            cache.padding.iter_mut().for_each(|padding| *padding += missing);
            cache.history.pad_left(missing);
        }
        self.padding.append(&mut other.padding);
        self.history.join(other.history);
        for (layer, more) in self.layers.iter_mut().zip(other.layers) {
            layer.join(more, len);
        }
        self.held = if all_held { len } else { 0 };
        self.len = len;
        self.snapshots.clear();
        // Every row has been read to its end, so nothing is announced any more; each is one text from now on.
        (self.expected, self.segments) = (0, None);
    }

    pub(super) fn keep(&mut self, rows: &[usize]) {
        let is_all_of_one = rows == [0] && self.batch() == 1;
        let rows = &self.rows_of(rows)[..];
        let kept: Vec<usize> = rows.iter().map(|&row| self.padding[row]).collect();
        let Some(&dropped) = kept.iter().min() else {
            *self = Self::new(self.layers.len(), &[]).with_stride(self.stride).with_copies(self.copies);
            return;
        };
        // Padding is not always read yet.
        let dropped = dropped.min(self.len);
        if dropped > self.held {
            self.restart();
        }
        if !is_all_of_one {
            self.snapshots.clear();
        }
        let read = dropped.min(self.held);
        self.layers.iter_mut().for_each(|layer| layer.keep(rows, read));
        self.padding = kept.into_iter().map(|padding| padding - dropped).collect();
        self.select_segments(rows);
        self.history.select(rows, dropped);
        self.snapshots.drop_positions(dropped);
        self.held -= read;
        self.len -= dropped;
        self.expected = self.expected.saturating_sub(dropped);
    }

    pub(super) fn bytes(&self) -> usize {
        let layers: usize = self.layers.iter().map(LayerMemory::bytes).sum();
        layers + self.snapshots.bytes() + self.history.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn starts_and_lens(cache: &LayerCache, row: usize, positions: Range<usize>) -> Vec<(usize, usize)> {
        cache.segments(row, positions).map(|segment| (segment.start, segment.len)).collect()
    }

    #[test]
    fn without_segments_a_row_is_one_text_after_its_padding() {
        let mut cache = LayerCache::new(1, &[2, 0]);
        assert_eq!(starts_and_lens(&cache, 0, 0..4), [(2, 2); 4]);
        cache.set_expected_len(9);
        assert_eq!(starts_and_lens(&cache, 1, 2..4), [(0, 9); 2]);
    }

    #[test]
    fn segments_follow_each_other_and_are_selected_with_their_rows() {
        let mut cache = LayerCache::new(1, &[0, 1]);
        cache.segment(&[vec![2, 1, 1], vec![3]]).expect("two rows");
        let first = [(0, 2), (0, 2), (2, 1), (3, 1), (3, 1), (3, 1)];
        assert_eq!(starts_and_lens(&cache, 0, 0..6), first);
        assert_eq!(starts_and_lens(&cache, 0, 3..6), first[3..]);
        cache.select(&[1, 0]);
        assert_eq!(starts_and_lens(&cache, 1, 0..6), first);
        assert_eq!(starts_and_lens(&cache, 0, 0..3), [(1, 3); 3]);
        assert!(cache.segment(&[vec![1]]).expect_err("one list").to_string().contains("1 lists for 2 rows"));
    }

    #[test]
    fn copies_of_a_row_stay_side_by_side() {
        let mut cache = LayerCache::new(1, &[2, 0, 1]).with_copies(2);
        assert_eq!(cache.padding(), [2, 2, 0, 0, 1, 1]);
        cache.segment(&[vec![2], vec![1, 3], vec![3]]).expect("three rows");
        assert!(cache.segment(&[vec![1]]).expect_err("one list").to_string().contains("1 lists for 3 rows"));
        cache.select(&[1, 0]);
        assert_eq!(cache.padding(), [0, 0, 2, 2]);
        for row in 0..2 {
            assert_eq!(starts_and_lens(&cache, row, 0..2), [(0, 1), (1, 3)]);
            assert_eq!(starts_and_lens(&cache, row + 2, 2..4), [(2, 2); 2]);
        }
        cache.advance(4);
        cache.keep(&[1]);
        assert_eq!((cache.padding(), cache.len()), (&[0, 0][..], 2));
        let mut other = LayerCache::new(1, &[0]).with_copies(2);
        other.advance(3);
        cache.join(other);
        assert_eq!(cache.padding(), [1, 1, 0, 0]);
        cache.keep(&[]);
        assert!(cache.padding().is_empty());
        cache.join(LayerCache::new(1, &[3]).with_copies(2));
        assert_eq!(cache.padding(), [3, 3]);
    }
}

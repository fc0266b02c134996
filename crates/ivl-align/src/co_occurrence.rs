//! Tokens that meet in a corpus.

use std::collections::HashMap;

use ivl_core::Vocab;

use crate::counts::CooccurrenceCounts;

/// For every base id, the value id that most often begins where it begins: what the value would have been about to write.
/// Of equal ones the one that shares the most first bytes, then the lower id.
pub(crate) fn by_same_start(counts: &CooccurrenceCounts, base: &Vocab, value: &Vocab) -> Vec<Option<u32>> {
    let mut best: Vec<Option<(u64, usize, std::cmp::Reverse<u32>)>> = vec![None; base.size()];
    for (&(id, other), &count) in &counts.same_start {
        let bytes = base.text_bytes(id).iter().zip(value.text_bytes(other));
        let found = Some((count, bytes.take_while(|(a, b)| a == b).count(), std::cmp::Reverse(other)));
        let best = &mut best[id as usize];
        *best = (*best).max(found);
    }
    best.into_iter().map(|best| best.map(|(.., std::cmp::Reverse(other))| other)).collect()
}

/// The published method, on the counts `c` of DTW:
///
/// 1. `x[i,j] = c[i,j] - mean_j c[i,j]` where the count is not zero; the mean is over all value ids;
/// 2. `y[i,j] = (x[i,j] - min_i x[i,j]) / (max_i x[i,j] - min_i x[i,j])`; entries that were never counted are zeros of
///    the column;
/// 3. of every row the largest counted entry, with its weight `y`; the lowest id of equal ones.
pub(crate) fn by_published_weights(
    counts: &CooccurrenceCounts,
    base: &Vocab,
    value: &Vocab,
) -> Vec<Option<(u32, f32)>> {
    let mut sums = vec![0u64; base.size()];
    for (&(id, _), &count) in &counts.dtw {
        sums[id as usize] += count;
    }
    let centred = |id: u32, count: u64| count as f64 - sums[id as usize] as f64 / value.size() as f64;
    let mut columns: HashMap<u32, (f64, f64)> = HashMap::new();
    for (&(id, other), &count) in &counts.dtw {
        let x = centred(id, count);
        let (least, most) = columns.entry(other).or_insert((0.0, 0.0));
        (*least, *most) = (least.min(x), most.max(x));
    }
    let mut best: Vec<Option<(f64, u32)>> = vec![None; base.size()];
    for (&(id, other), &count) in &counts.dtw {
        let (least, most) = columns[&other];
        let y = (centred(id, count) - least) / (most - least);
        let best = &mut best[id as usize];
        if y.is_finite() && best.is_none_or(|(weight, first)| y > weight || y == weight && other < first) {
            *best = Some((y, other));
        }
    }
    best.into_iter().map(|best| best.map(|(weight, other)| (other, weight as f32))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counts::Pairs;
    use ivl_core::vocab::Token;

    fn vocab(tokens: &[&str]) -> Vocab {
        Vocab::new(tokens.iter().map(|token| Some(Token::text(token.as_bytes()))).collect())
    }

    #[test]
    fn the_published_matrix_by_hand() {
        let (base, value) = (vocab(&["a", "b", "c"]), vocab(&["a", "b"]));
        let dtw = Pairs::from_iter([((0, 0), 6), ((0, 1), 2), ((1, 1), 4)]);
        let counts = CooccurrenceCounts { dtw, ..CooccurrenceCounts::default() };
        // Means 4, 2, 0; centred [[2, -2], [., 2], [., .]]; columns [0, 2] and [-2, 2].
        let found = by_published_weights(&counts, &base, &value);
        assert_eq!(found, [Some((0, 1.0)), Some((1, 1.0)), None]);
        let counts = CooccurrenceCounts {
            dtw: Pairs::from_iter([((0, 1), 3), ((1, 1), 9)]),
            ..CooccurrenceCounts::default()
        };
        // Means 1.5 and 4.5; centred 1.5 and 4.5; column [0, 4.5].
        let found = by_published_weights(&counts, &base, &value);
        assert_eq!(found, [Some((1, (1.5f64 / 4.5) as f32)), Some((1, 1.0)), None]);
    }

    #[test]
    fn the_most_frequent_beginning_wins_and_shared_bytes_break_ties() {
        let (base, value) = (vocab(&["under", "x"]), vocab(&["z", "un", "und"]));
        let same_start = Pairs::from_iter([((0, 0), 3), ((0, 1), 5), ((0, 2), 5)]);
        let counts = CooccurrenceCounts { same_start, ..CooccurrenceCounts::default() };
        assert_eq!(by_same_start(&counts, &base, &value), [Some(2), None]);
    }
}

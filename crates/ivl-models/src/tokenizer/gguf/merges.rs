//! Merges from the vocabulary of a SentencePiece tokenizer, and scores from merges.
//!
//! SentencePiece keeps no merges: two neighbours become one token where their text is a token, the token with the best score
//! first. As a list, merges are ordered by the score of what they make; among those of one token, the longer left part goes first.
//! Source: `generate_merges` of transformers.

use std::cmp::Ordering;
use std::collections::HashMap;

/// Two tokens that become one.
pub(super) type Merge = (String, String);

/// Every split of a token into two tokens, those of the tokens with the highest scores first. `scores` has one for each token, and
/// none is not a number.
pub(super) fn merges_by_score(tokens: &[String], scores: &[f32]) -> Vec<Merge> {
    let ids: HashMap<&str, u32> = tokens.iter().zip(0..).map(|(token, id)| (token.as_str(), id)).collect();
    let mut merges = Vec::new();
    for (token, &score) in tokens.iter().zip(scores) {
        let mut splits: Vec<Split<'_>> = token
            .char_indices()
            .skip(1)
            .filter_map(|(at, _)| {
                let (left, right) = token.split_at(at);
                Some(Split { left, right, ids: (*ids.get(left)?, *ids.get(right)?), score })
            })
            .collect();
        splits.sort_by_key(|split| split.ids);
        merges.append(&mut splits);
    }
    merges.sort_by(Split::order);
    merges.into_iter().map(|split| (split.left.to_owned(), split.right.to_owned())).collect()
}

struct Split<'a> {
    left: &'a str,
    right: &'a str,
    ids: (u32, u32),
    score: f32,
}

impl Split<'_> {
    fn order(&self, other: &Self) -> Ordering {
        let lengths = |split: &Self| (split.left.chars().count(), split.right.chars().count());
        let scores = other.score.partial_cmp(&self.score).unwrap_or(Ordering::Equal);
        scores.then_with(|| lengths(other).cmp(&lengths(self)))
    }
}

/// For each token, the score that puts it where its first merge is: 0, -1, -2, .. in the order of the merges. Tokens that no merge
/// makes come last.
pub(super) fn scores_of_merges(tokens: &[String], merges: &[Merge]) -> Vec<f32> {
    let mut ranks: HashMap<String, usize> = HashMap::with_capacity(merges.len());
    for (left, right) in merges {
        let next = ranks.len();
        ranks.entry(format!("{left}{right}")).or_insert(next);
    }
    let last = ranks.len();
    let score = |token: &String| -(ranks.get(token).copied().unwrap_or(last) as f32);
    tokens.iter().map(score).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(list: &[&str]) -> Vec<String> {
        list.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_best_token_is_merged_first_and_the_longer_left_part_before_others() {
        let tokens = texts(&["a", "b", "ab", "ba", "aba", "x"]);
        let merges = merges_by_score(&tokens, &[-9.0, -9.0, -2.0, -1.0, -3.0, -9.0]);
        let expected = [("b", "a"), ("a", "b"), ("ab", "a"), ("a", "ba")];
        assert_eq!(merges, expected.map(|(left, right)| (left.to_owned(), right.to_owned())));
    }

    #[test]
    fn scores_bring_the_merges_back() {
        let tokens = texts(&["a", "b", "c", "é", "bc", "abc", "ab", "éa", "éab"]);
        let merges = merges_by_score(&tokens, &[0.0, 0.0, 0.0, 0.0, -1.5, -4.0, -2.5, -7.0, -8.0]);
        let scores = scores_of_merges(&tokens, &merges);
        assert_eq!(merges_by_score(&tokens, &scores), merges);
        assert_eq!(scores[4], 0.0);
        assert_eq!(scores[6], -1.0);
    }
}

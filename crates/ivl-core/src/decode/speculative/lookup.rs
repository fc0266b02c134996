//! Drafts without a model: what followed the last tokens when they stood in the text before.

use std::time::Instant;

use super::guesses::Guesses;

/// Guesses that the text repeats itself ([Saxena 2023](https://github.com/apoorvumang/prompt-lookup-decoding)): summaries,
/// edits of code and answers that quote do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lookup {
    /// Most tokens at the end of the text that have to be found again.
    pub(super) ngram: usize,
}

impl Lookup {
    /// Tokens to be checked.
    pub(super) fn guesses(self, text: &[u32], most: usize) -> Guesses {
        let began = Instant::now();
        let tokens = self.guess(text, most).to_vec();
        Guesses { tokens, values: Vec::new(), took: began.elapsed() }
    }

    /// At most `most` tokens that followed the longest end of `text` (at most an n-gram) where it last stood before.
    fn guess(self, text: &[u32], most: usize) -> &[u32] {
        let follows = |len: usize| {
            let (end, before) = (&text[text.len() - len..], &text[..text.len() - 1]);
            let at = before.windows(len).rposition(|window| window == end)?;
            Some(at + len)
        };
        let longest = self.ngram.min(text.len().saturating_sub(1));
        match (1..=longest).rev().find_map(follows) {
            Some(from) => &text[from..text.len().min(from + most)],
            None => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_end_that_was_seen_decides_and_the_last_place_of_it() {
        let guess = |text: &'static [u32], ngram, most| Lookup { ngram }.guess(text, most);
        assert_eq!(guess(&[1, 2, 3, 4, 9, 2, 3], 3, 8), [4, 9, 2, 3]);
        assert_eq!(guess(&[1, 2, 3, 4, 9, 2, 3], 3, 2), [4, 9]);
        assert_eq!(guess(&[1, 2, 7, 5, 2, 8, 1, 2], 2, 1), [7], "two tokens before one");
        assert_eq!(guess(&[1, 2, 7, 5, 2, 8, 1, 2], 1, 1), [8], "one token, where it last stood");
        assert_eq!(guess(&[4, 4, 4], 2, 8), [4], "the text may overlap itself");
    }

    #[test]
    fn nothing_is_guessed_where_nothing_repeats() {
        assert!(Lookup { ngram: 3 }.guess(&[1, 2, 3], 4).is_empty());
        assert!(Lookup { ngram: 3 }.guess(&[1], 4).is_empty());
        assert!(Lookup { ngram: 3 }.guess(&[1, 1], 0).is_empty());
    }
}

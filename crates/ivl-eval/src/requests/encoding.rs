//! From texts to tokens, as lm-evaluation-harness makes them for Hugging Face models.

use ivl_models::Tokenizer;

use crate::error::{Error, FileLine};
use crate::python_text::is_space;
use crate::requests::LikelihoodRequest;

/// Makes tokens of contexts and continuations, never more than a model reads.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Encoding<'a> {
    tokenizer: &'a Tokenizer,
    max_length: usize,
}

/// Tokens, and whether some before them were left out for want of room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fitted<T> {
    /// The tokens.
    pub(crate) tokens: T,
    /// Whether the context was cut at its beginning.
    pub(crate) cut: bool,
}

impl<'a> Encoding<'a> {
    /// For a model that reads at most `max_length` tokens.
    pub(crate) fn new(tokenizer: &'a Tokenizer, max_length: usize) -> Self {
        Self { tokenizer, max_length }
    }

    /// A context and a continuation. White space at the end of the context is moved to the continuation; both are tokenized
    /// together, and the continuation is the part after the context's own tokens. Without context it follows the
    /// beginning-of-text token. A context that is too long is cut at its beginning.
    ///
    /// # Errors
    /// [`Error::NoToken`], [`Error::LongContinuation`], [`Error::NoBeginning`], [`Error::Tokenizer`].
    pub(crate) fn continuation(
        &self,
        context: &str,
        continuation: &str,
        place: &FileLine,
    ) -> Result<Fitted<LikelihoodRequest>, Error> {
        let end = context.trim_end_matches(is_space);
        let (mut before, mut tokens) = if end.is_empty() {
            self.without_context(&format!("{context}{continuation}"), place)?
        } else {
            let before = self.encode(end)?;
            let whole = self.encode(&format!("{context}{continuation}"))?;
            let tokens = whole.get(before.len()..).unwrap_or_default().to_vec();
            (before, tokens)
        };
        if tokens.is_empty() {
            return Err(Error::NoToken { place: place.clone(), continuation: continuation.to_owned() });
        }
        let limit = self.max_length;
        let got = tokens.len();
        if before.is_empty() {
            // A tokenizer may join the two: then the rest is scored after its first token.
            before = tokens.drain(..1).collect();
        }
        if got > limit || tokens.is_empty() {
            return Err(Error::LongContinuation { place: place.clone(), got, limit });
        }
        // The last token is scored, not read.
        let room = limit + 1 - tokens.len();
        let cut = before.len() > room;
        before.drain(..before.len().saturating_sub(room));
        Ok(Fitted { tokens: LikelihoodRequest { context: before, tokens }, cut })
    }

    /// A whole text as windows: each token is scored once. The first window follows the beginning-of-text token; each of the
    /// next is as long as the model reads, and follows one token of the window before it.
    ///
    /// # Errors
    /// [`Error::NoBeginning`], [`Error::Tokenizer`]; [`Error::NoToken`] for a text without tokens.
    pub(crate) fn windows(&self, text: &str, place: &FileLine) -> Result<Vec<LikelihoodRequest>, Error> {
        let beginning = self.beginning(place)?;
        let tokens = self.encode(text)?;
        if tokens.is_empty() {
            return Err(Error::NoToken { place: place.clone(), continuation: text.to_owned() });
        }
        Ok(rolling(&tokens, beginning, self.max_length))
    }

    /// A prompt that leaves room for an answer of `answer` tokens; it is cut at its beginning if it is too long.
    ///
    /// # Errors
    /// [`Error::Length`] if an answer leaves no room for a prompt, [`Error::Tokenizer`], [`Error::NoToken`].
    pub(crate) fn prompt(
        &self,
        text: &str,
        answer: usize,
        place: &FileLine,
    ) -> Result<Fitted<Vec<u32>>, Error> {
        let Some(room) = self.max_length.checked_sub(answer).filter(|&room| room > 0) else {
            let expected = format!("less than the {} tokens that the model reads", self.max_length);
            return Err(Error::Length { name: "max_gen_toks", expected, got: answer });
        };
        let begins = self.tokenizer.special_token("bos_token").is_some_and(|bos| text.starts_with(bos));
        let mut tokens = self.tokenizer.encode(text, !begins)?;
        if tokens.is_empty() {
            return Err(Error::NoToken { place: place.clone(), continuation: text.to_owned() });
        }
        let cut = tokens.len().saturating_sub(room);
        tokens.drain(..cut);
        Ok(Fitted { tokens, cut: cut > 0 })
    }

    /// Tokens of a text with those that the tokenizer adds, unless the text already begins with the first of them.
    fn encode(&self, text: &str) -> Result<Vec<u32>, Error> {
        let begins = self.beginning_name().is_some_and(|name| text.starts_with(name));
        Ok(self.tokenizer.encode(text, !begins)?)
    }

    fn beginning_name(&self) -> Option<&str> {
        self.tokenizer.special_token("bos_token").or_else(|| self.tokenizer.special_token("eos_token"))
    }

    fn beginning(&self, place: &FileLine) -> Result<u32, Error> {
        let id = self.beginning_name().and_then(|name| self.tokenizer.token_to_id(name));
        id.ok_or_else(|| Error::NoBeginning { place: place.clone() })
    }

    fn without_context(&self, continuation: &str, place: &FileLine) -> Result<(Vec<u32>, Vec<u32>), Error> {
        let tokens = self.tokenizer.encode(continuation, false)?;
        let beginning = self.beginning(place)?;
        Ok(match tokens.split_first() {
            Some((&first, rest)) if first == beginning => (vec![first], rest.to_vec()),
            _ => (vec![beginning], tokens),
        })
    }
}

/// The windows of `get_rolling_token_windows` with a context of one token, made disjoint: the last one, which has fewer
/// tokens left to score, reads more of the preceding text.
fn rolling(tokens: &[u32], beginning: u32, max_length: usize) -> Vec<LikelihoodRequest> {
    let first = max_length.min(tokens.len());
    let mut windows = vec![LikelihoodRequest { context: vec![beginning], tokens: tokens[..first].to_vec() }];
    let mut scored = first;
    while scored < tokens.len() {
        let end = (scored + max_length).min(tokens.len());
        let context = tokens[end - max_length - 1..scored].to_vec();
        windows.push(LikelihoodRequest { context, tokens: tokens[scored..end].to_vec() });
        scored = end;
    }
    windows
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Results of `get_rolling_token_windows` and `make_disjoint_window` of lm-evaluation-harness 0.4.13.
    #[test]
    fn windows_are_those_of_the_harness() {
        let windows = |len: u32, max_length| {
            let tokens: Vec<u32> = (0..len).collect();
            rolling(&tokens, 100, max_length).into_iter().map(|w| (w.context, w.tokens)).collect::<Vec<_>>()
        };
        assert_eq!(
            windows(10, 4),
            [(vec![100], vec![0, 1, 2, 3]), (vec![3], vec![4, 5, 6, 7]), (vec![5, 6, 7], vec![8, 9]),]
        );
        assert_eq!(windows(3, 4), [(vec![100], vec![0, 1, 2])]);
        assert_eq!(windows(8, 4), [(vec![100], vec![0, 1, 2, 3]), (vec![3], vec![4, 5, 6, 7])]);
    }
}

//! Exact match: whether an answer is the target text.

use ivl_models::{Pattern, PatternError};

/// The comparison of two texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextRule {
    /// The answer is the text: `exact_match`.
    Equal,
    /// The answer holds the text: `contains`.
    Contains,
}

/// Compares texts as `exact_match` of lm-evaluation-harness does: patterns are taken out first, one after the other, then
/// capitals, ASCII punctuation and digits, from both texts.
#[derive(Debug, Clone)]
pub struct TextMatch {
    /// Equality or containment.
    pub rule: TextRule,
    /// Taken out of both.
    pub ignored: Vec<Pattern>,
    /// Whether capitals count.
    pub ignore_case: bool,
    /// Whether ASCII punctuation counts.
    pub ignore_punctuation: bool,
    /// Whether digits count.
    pub ignore_numbers: bool,
}

impl TextMatch {
    /// Texts as they are.
    pub fn new(rule: TextRule) -> Self {
        Self {
            rule,
            ignored: Vec::new(),
            ignore_case: false,
            ignore_punctuation: false,
            ignore_numbers: false,
        }
    }

    /// Whether an answer matches any of the texts that are right.
    ///
    /// # Errors
    /// [`PatternError::Steps`].
    pub fn is_right(&self, answer: &str, right: &[String]) -> Result<bool, PatternError> {
        let answer = self.normalize(answer)?;
        for text in right {
            let text = self.normalize(text)?;
            let matches = match self.rule {
                // NumPy's texts, in which the harness compares, end before trailing NULs.
                TextRule::Equal => answer.trim_end_matches('\0') == text.trim_end_matches('\0'),
                TextRule::Contains => answer.contains(&text),
            };
            if matches {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn normalize(&self, text: &str) -> Result<String, PatternError> {
        let mut text = text.to_owned();
        for pattern in &self.ignored {
            text = pattern.replace_all(&text, "")?;
        }
        if self.ignore_case {
            text = text.to_lowercase();
        }
        text.retain(|letter| {
            !(self.ignore_punctuation && letter.is_ascii_punctuation()
                || self.ignore_numbers && letter.is_ascii_digit())
        });
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn right(rule: &TextMatch, answer: &str, text: &str) -> bool {
        rule.is_right(answer, &[text.to_owned()]).expect("ends")
    }

    #[test]
    fn texts_are_compared_after_what_is_ignored() {
        let exact = TextMatch::new(TextRule::Equal);
        assert!(
            right(&exact, "Oslo", "Oslo")
                && !right(&exact, "oslo", "Oslo")
                && !right(&exact, " Oslo", "Oslo")
        );
        let loose =
            TextMatch { ignore_case: true, ignore_punctuation: true, ignore_numbers: true, ..exact.clone() };
        assert!(right(&loose, "oslo, 1!", "OSLO "));
        let patterns =
            [",", "\\$", "(?s).*#### ", "\\.$"].map(|source| Pattern::new(source).expect("compiles"));
        let gsm8k = TextMatch { ignored: patterns.to_vec(), ..exact };
        assert!(right(&gsm8k, "$1,250.", "She has\n#### 1250") && !right(&gsm8k, "1250.0", "#### 1250"));
    }

    #[test]
    fn any_of_several_texts_will_do() {
        let contains = TextMatch::new(TextRule::Contains);
        assert!(right(&contains, "It is Oslo.", "Oslo") && !right(&contains, "Os lo", "Oslo"));
        assert!(contains.is_right("Rome", &["Oslo".to_owned(), "Rome".to_owned()]).expect("ends"));
        assert!(!contains.is_right("Rome", &[]).expect("ends"));
    }
}

//! Answers that models write, and whether they are the data's.

use ivl_core::decode::{GenerateConfig, generate};
use ivl_core::{CausalLm, Error};
use serde::Serialize;

use super::passage::groups;

/// Prompts that are continued together.
const ROWS: usize = 32;

/// A prompt and its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuestionPrompt {
    /// Token ids.
    pub ids: Vec<u32>,
    /// The text to compare with.
    pub reference: String,
    /// Tokens after which a longer answer cannot be the reference.
    pub limit: usize,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GradedAnswer {
    /// The generated text, without surrounding white space.
    pub text: String,
    /// Whether it is the reference, apart from white space around both.
    pub correct: bool,
}

/// Continues prompts greedily until one of `end_tokens`.
///
/// `progress` receives the prompts done so far.
///
/// # Errors
/// Those of [`generate`].
pub fn answer_greedily(
    lm: &dyn CausalLm,
    prompts: &[QuestionPrompt],
    end_tokens: &[u32],
    progress: &mut dyn FnMut(usize),
) -> Result<Vec<GradedAnswer>, Error> {
    let lengths: Vec<usize> = prompts.iter().map(|prompt| prompt.ids.len()).collect();
    let mut texts = vec![(String::new(), 0); prompts.len()];
    let mut done = 0;
    for group in groups(&lengths).iter().flat_map(|group| group.chunks(ROWS)) {
        let ids: Vec<&[u32]> = group.iter().map(|&index| prompts[index].ids.as_slice()).collect();
        let config = GenerateConfig::default()
            .max_new_tokens(group.iter().map(|&index| prompts[index].limit).max().unwrap_or(1))
            .end_tokens(end_tokens.to_vec());
        for step in generate(lm, &ids, &config)? {
            let step = step?;
            let index = group[step.row];
            let (text, tokens) = &mut texts[index];
            if *tokens < prompts[index].limit {
                text.push_str(&step.text);
                *tokens += 1;
            }
        }
        done += group.len();
        progress(done);
    }
    let judge = |((text, _), prompt): ((String, usize), &QuestionPrompt)| {
        let text = text.trim().to_owned();
        GradedAnswer { correct: text == prompt.reference.trim(), text }
    };
    Ok(texts.into_iter().zip(prompts).map(judge).collect())
}

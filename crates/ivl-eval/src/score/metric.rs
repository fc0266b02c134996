//! Metrics of one sample.

use std::path::Path;

use ivl_models::{Pattern, PatternError};
use serde::{Deserialize, Serialize};

use super::{ChoiceMetric, Extraction, TextMatch, TextRule};
use crate::error::{Error, FileLine};
use crate::instructions::{self, InstructionVerdicts};
use crate::python_text::is_space;
use crate::task::{Document, Gold, MetricName, MetricSettings, OutputType, TaskRow};

/// The answer of a model, from which scores are computed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum SampleAnswer {
    /// How likely each choice is.
    Choices(Vec<crate::requests::Likelihood>),
    /// How likely a text is.
    Text(crate::requests::Likelihood),
    /// The generated text.
    Response(String),
}

/// A metric with its settings.
#[derive(Debug, Clone)]
pub enum Metric {
    /// Which choice is the most likely.
    Choice(ChoiceMetric, MetricName),
    /// How likely a text is.
    Perplexity(MetricName),
    /// Whether an answer is, or holds, the right text.
    Text(TextMatch, MetricName),
    /// Whether verifiable instructions were followed.
    Instructions,
}

/// The value of a metric for one sample.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SampleScore {
    /// Which metric.
    pub(crate) metric: &'static str,
    /// The name of the filter; `none` for the whole answer.
    pub(crate) filter: String,
    /// The value.
    pub(crate) value: ScoreValue,
}

/// The value of a metric for one sample.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub(crate) enum ScoreValue {
    /// 1 if it is right, 0 if not.
    Right(f64),
    /// A log-likelihood, and over how many words, bytes or tokens.
    PerUnit(f64, usize),
    /// Several of them.
    Several(Vec<bool>),
}

impl Metric {
    /// A metric of a task.
    ///
    /// # Errors
    /// [`Error::Setting`] for a metric of another kind of task or a setting of another metric, [`Error::Pattern`].
    pub(crate) fn new(path: &Path, kind: OutputType, settings: &MetricSettings) -> Result<Self, Error> {
        let name = settings.metric;
        if name.output_type() != kind {
            return Err(Error::Setting {
                path: path.to_owned(),
                key: "metric_list.metric".to_owned(),
                expected: match kind {
                    OutputType::MultipleChoice => {
                        "acc, acc_norm or acc_bytes for output_type `multiple_choice`"
                    }
                    OutputType::LoglikelihoodRolling => {
                        "word_perplexity, byte_perplexity, bits_per_byte or token_perplexity for output_type \
                         `loglikelihood_rolling`"
                    }
                    OutputType::GenerateUntil => {
                        "exact_match, contains or ifeval for output_type `generate_until`"
                    }
                },
                got: format!("`{}`", name.name()),
            });
        }
        let rule = match name {
            MetricName::ExactMatch => TextRule::Equal,
            MetricName::Contains => TextRule::Contains,
            _ if *settings != MetricSettings::new(name) => {
                return Err(Error::Setting {
                    path: path.to_owned(),
                    key: "metric_list".to_owned(),
                    expected: "settings beside exact_match and contains alone",
                    got: format!("settings beside `{}`", name.name()),
                });
            }
            MetricName::Acc => return Ok(Self::Choice(ChoiceMetric::Acc, name)),
            MetricName::AccNorm => return Ok(Self::Choice(ChoiceMetric::AccNorm, name)),
            MetricName::AccBytes => return Ok(Self::Choice(ChoiceMetric::AccBytes, name)),
            MetricName::Ifeval => return Ok(Self::Instructions),
            _ => return Ok(Self::Perplexity(name)),
        };
        let what = || format!("`metric_list.regexes_to_ignore` in the task `{}`", path.display());
        let compile =
            |source: &String| Pattern::new(source).map_err(|source| Error::Pattern { what: what(), source });
        let ignored = settings.regexes_to_ignore.iter().map(compile).collect::<Result<_, _>>()?;
        let (ignore_case, ignore_punctuation) = (settings.ignore_case, settings.ignore_punctuation);
        let ignore_numbers = settings.ignore_numbers;
        Ok(Self::Text(TextMatch { rule, ignored, ignore_case, ignore_punctuation, ignore_numbers }, name))
    }

    /// Scores of one sample; an answer in text is scored as each extraction gives it. `counted` is the text whose words and
    /// bytes are counted.
    ///
    /// # Errors
    /// [`Error::Pattern`] for a pattern that does not end, [`Error::Instruction`] for one that cannot be checked.
    pub(crate) fn scores(
        &self,
        (document, row): (&Document, &TaskRow),
        answer: &SampleAnswer,
        extractions: &[Extraction],
        counted: &str,
    ) -> Result<Vec<SampleScore>, Error> {
        let one = |metric, value| vec![SampleScore { metric, filter: "none".to_owned(), value }];
        match (self, answer) {
            (Self::Choice(metric, name), SampleAnswer::Choices(likelihoods)) => {
                let sums: Vec<f64> = likelihoods.iter().map(crate::requests::Likelihood::sum).collect();
                let chosen = metric.choose(&sums, &document.choices);
                let right = matches!(&document.gold, Gold::Choices(right) if right.contains(&chosen));
                Ok(one(name.name(), ScoreValue::Right(f64::from(u8::from(right)))))
            }
            (Self::Perplexity(name), SampleAnswer::Text(likelihood)) => {
                let units = match name {
                    MetricName::WordPerplexity => words(counted),
                    MetricName::TokenPerplexity => likelihood.logprobs.len(),
                    _ => counted.len(),
                };
                Ok(one(name.name(), ScoreValue::PerUnit(likelihood.sum(), units)))
            }
            (Self::Text(rule, name), SampleAnswer::Response(response)) => {
                let failed = |source| endless(&row.place, source);
                let right = match &document.gold {
                    Gold::Texts(texts) => texts.as_slice(),
                    Gold::Choices(_) => &[],
                };
                let score = |extraction: &Extraction| {
                    let answer = extraction.apply(response).map_err(failed)?;
                    let value = rule.is_right(&answer, right).map_err(failed)?;
                    let value = ScoreValue::Right(f64::from(u8::from(value)));
                    Ok(SampleScore { metric: name.name(), filter: extraction.name.clone(), value })
                };
                extractions.iter().map(score).collect()
            }
            (Self::Instructions, SampleAnswer::Response(response)) => {
                let mut scores = Vec::new();
                for extraction in extractions {
                    let answer = extraction.apply(response).map_err(|source| endless(&row.place, source))?;
                    let followed = instructions::check(row, &answer)?;
                    scores.extend(instruction_scores(&followed, &extraction.name));
                }
                Ok(scores)
            }
            _ => Ok(Vec::new()),
        }
    }
}

/// The four figures of IFEval for one prompt.
fn instruction_scores(verdicts: &InstructionVerdicts, filter: &str) -> [SampleScore; 4] {
    let all = |followed: &[bool]| ScoreValue::Right(f64::from(u8::from(followed.iter().all(|&f| f))));
    let each = |followed: &[bool]| ScoreValue::Several(followed.to_vec());
    [
        ("prompt_level_strict_acc", all(&verdicts.strict)),
        ("inst_level_strict_acc", each(&verdicts.strict)),
        ("prompt_level_loose_acc", all(&verdicts.loose)),
        ("inst_level_loose_acc", each(&verdicts.loose)),
    ]
    .map(|(metric, value)| SampleScore { metric, filter: filter.to_owned(), value })
}

fn endless(place: &FileLine, source: PatternError) -> Error {
    Error::Pattern { what: format!("the answer to {place}"), source }
}

/// Number of words as lm-evaluation-harness counts them: pieces between runs of white space, empty ones at the ends too.
fn words(text: &str) -> usize {
    let mut before = false;
    let runs = text.chars().filter(|&letter| {
        let begins = is_space(letter) && !before;
        before = is_space(letter);
        begins
    });
    runs.count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_counted_as_re_split_does() {
        for (text, count) in [("", 1), ("one", 1), ("one  two\n", 3), (" a\u{1c}b", 3)] {
            assert_eq!(words(text), count, "{text:?}");
        }
    }
}

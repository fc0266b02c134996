//! The results of a study.

use ivl_eval::transfer::report::{AnswerOf, HeatMap, ReportExample};
use ivl_eval::transfer::{Measured, MeasuredBase, Transfer};

/// The figures of a study, and the answers that they are made from.
#[non_exhaustive]
pub struct Study {
    /// Tables and verdict.
    pub transfer: Transfer,
    /// The results of every base on every question.
    pub measured: Vec<MeasuredBase>,
    /// The prompts as the first base reads them, and the answers of the data.
    pub questions: Vec<(String, String)>,
    /// The explanation of one answer.
    pub heat_map: Option<HeatMap>,
    /// SHA-256 of the data.
    pub data: String,
}

impl Study {
    /// The first questions with what every base answers, at the recommended weight.
    pub fn examples(&self, count: usize) -> Vec<ReportExample> {
        let alphas = &self.transfer.source.alphas;
        let alpha = alphas.iter().position(|&alpha| alpha == self.transfer.verdict.alpha);
        let mut examples = Vec::new();
        for (index, (question, reference)) in self.questions.iter().enumerate().take(count) {
            let answers: Vec<AnswerOf> =
                self.measured.iter().filter_map(|base| answers_of(base, alpha?, index)).collect();
            if !answers.is_empty() {
                examples.push(ReportExample {
                    question: question.clone(),
                    reference: reference.clone(),
                    answers,
                });
            }
        }
        examples
    }
}

/// The answers of one base to a question, without a value and with the first one at one of the weights.
fn answers_of(base: &MeasuredBase, alpha: usize, question: usize) -> Option<AnswerOf> {
    let answer = |measured: &Measured| {
        let answer = &measured.answers.as_ref()?[question];
        Some((answer.text.clone(), answer.correct))
    };
    let with = base.with.get(alpha)?.first()?;
    Some(AnswerOf { base: base.name.clone(), alone: answer(&base.alone)?, with: answer(with)? })
}

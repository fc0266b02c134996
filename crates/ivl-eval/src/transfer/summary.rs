//! The transfer table.

use serde::Serialize;

use super::best_alpha::best_alpha;
use super::coverage::MapCoverage;
use super::measured::{Measured, MeasuredBase, Quantity, over_seeds};
use super::recovery::IntervalEstimate;
use super::verdict::Verdict;
use crate::statistics::mean;

/// The values and the data of a measurement.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TransferSource {
    /// Directories of the value, one a seed.
    pub values: Vec<String>,
    /// Where the questions come from.
    pub data: String,
    /// Weights of the value, in the order of the table.
    pub alphas: Vec<f64>,
    /// Fine-tuned models a base was compared with, one a seed.
    pub tuned_seeds: usize,
}

/// The whole study.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Transfer {
    /// The values and the data of a measurement.
    #[serde(flatten)]
    pub source: TransferSource,
    /// Questions to every base.
    pub questions: usize,
    /// Seed of the bootstrap.
    pub seed: u64,
    /// One row a base.
    pub bases: Vec<BaseSummary>,
    /// The verdict.
    pub verdict: Verdict,
}

/// One base.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BaseSummary {
    /// As it is called in the table.
    pub name: String,
    /// Whether the value was trained against it.
    pub home: bool,
    /// The coverage of the value.
    pub coverage: MapCoverage,
    /// The base without the value.
    pub alone: SettingSummary,
    /// With the value, for each alpha.
    pub with: Vec<SettingSummary>,
    /// After a fine-tuning of its own.
    pub tuned: Option<SettingSummary>,
    /// The measured weight that is best on this base; none for fewer than [`FEWEST_QUESTIONS`](super::FEWEST_QUESTIONS) questions.
    pub best_alpha: Option<IntervalEstimate>,
}

/// A mean over questions.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figure {
    /// Mean over questions and seeds; of figures of tokens, every token counts alike.
    pub mean: f64,
    /// Of the mean over questions.
    pub standard_error: f64,
    /// The mean of each seed.
    pub by_seed: Vec<f64>,
}

/// A base in one of its settings.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SettingSummary {
    /// Weight of the value; none without it.
    pub alpha: Option<f64>,
    /// Cross-entropy of a token of the answer, in nats.
    pub loss: Figure,
    /// Share of the questions that are answered word by word as in the data.
    pub exact_match: Option<Figure>,
    /// Of the predictions at tokens of the answer, in nats.
    pub entropy: Figure,
    /// `KL(model, base)` at tokens of the answer, in nats.
    pub kl: Option<Figure>,
    /// Share of the tokens of the answer at which the most probable token is not the base's.
    pub flips: Option<Figure>,
    /// Norm of what is added: root mean square of the centred difference of the logits.
    pub change: Option<Figure>,
    /// The gain over the base: more right answers, or a lower loss if no answers are generated.
    pub gain: Option<IntervalEstimate>,
    /// Share of the fine-tuning gap that is recovered, in right answers (else in loss).
    pub recovered: Option<IntervalEstimate>,
    /// The same of every seed of the value.
    pub recovered_by_seed: Vec<f64>,
    /// The share in terms of loss.
    pub recovered_loss: Option<IntervalEstimate>,
}

impl Transfer {
    /// Summarises what was measured; `seed` is that of the bootstrap.
    ///
    /// # Panics
    /// If a base was measured with another number of alphas than the source names.
    pub fn new(source: TransferSource, bases: &[MeasuredBase], seed: u64) -> Self {
        assert!(bases.iter().all(|base| base.with.len() == source.alphas.len()), "one row an alpha");
        let verdict = Verdict::new(&source.alphas, bases, seed);
        let questions = bases.first().map_or(0, |base| base.alone.observed.len());
        let bases = bases.iter().map(|base| BaseSummary::new(base, &source.alphas, seed)).collect();
        Self { source, questions, seed, bases, verdict }
    }

    /// Whether questions were answered, not only read.
    pub fn has_answers(&self) -> bool {
        self.bases.iter().any(|base| base.alone.exact_match.is_some())
    }

    /// Whether there is something to compare the value with.
    pub fn has_tuned(&self) -> bool {
        self.bases.iter().any(|base| base.tuned.is_some())
    }
}

impl BaseSummary {
    fn new(base: &MeasuredBase, alphas: &[f64], seed: u64) -> Self {
        let alone = std::slice::from_ref(&base.alone);
        let compare = |setting: SettingSummary, seeds: &[Measured]| compared(setting, seeds, base, seed);
        let with = base.with.iter().zip(alphas).map(|(seeds, &alpha)| {
            compare(SettingSummary { alpha: Some(alpha), ..SettingSummary::new(seeds, true) }, seeds)
        });
        let tuned = (!base.tuned.is_empty()).then(|| {
            let setting = SettingSummary::new(&base.tuned, true);
            SettingSummary { gain: base.gain(&base.tuned, seed), ..setting }
        });
        Self {
            name: base.name.clone(),
            home: base.home,
            coverage: base.coverage,
            alone: SettingSummary::new(alone, false),
            with: with.collect(),
            tuned,
            best_alpha: best_alpha(alphas, base, seed),
        }
    }

    /// The setting with this alpha.
    pub fn at(&self, alpha: f64) -> Option<&SettingSummary> {
        self.with.iter().find(|setting| setting.alpha == Some(alpha))
    }
}

impl SettingSummary {
    fn new(seeds: &[Measured], differs: bool) -> Self {
        let figure = |quantity| Figure::new(seeds, quantity);
        let nothing = Figure { mean: f64::NAN, standard_error: f64::NAN, by_seed: Vec::new() };
        let of_change = |quantity| if differs { figure(quantity) } else { None };
        Self {
            alpha: None,
            loss: figure(Quantity::Loss).unwrap_or_else(|| nothing.clone()),
            exact_match: figure(Quantity::ExactMatch),
            entropy: figure(Quantity::Entropy).unwrap_or(nothing),
            kl: of_change(Quantity::Kl),
            flips: of_change(Quantity::Flips),
            change: of_change(Quantity::Change),
            gain: None,
            recovered: None,
            recovered_by_seed: Vec::new(),
            recovered_loss: None,
        }
    }
}

/// Adds how a setting compares with the base and with its fine-tuning.
fn compared(setting: SettingSummary, seeds: &[Measured], base: &MeasuredBase, seed: u64) -> SettingSummary {
    let judged = base.judged_by();
    let each = seeds
        .iter()
        .filter_map(|one| base.recovered(std::slice::from_ref(one), judged, seed).map(|share| share.value));
    SettingSummary {
        gain: base.gain(seeds, seed),
        recovered: base.recovered(seeds, judged, seed),
        recovered_by_seed: each.collect(),
        recovered_loss: base.recovered(seeds, Quantity::Loss, seed),
        ..setting
    }
}

impl Figure {
    /// The mean over questions of what the seeds give on average; the standard error treats the questions as drawn, and
    /// follows a ratio of sums to first order.
    fn new(seeds: &[Measured], quantity: Quantity) -> Option<Self> {
        let ratio = |sums: &[(f64, f64)]| {
            let (sum, count) = sums.iter().fold((0.0, 0.0), |(sum, count), one| (sum + one.0, count + one.1));
            (sum / count, count / sums.len() as f64)
        };
        let sums = over_seeds(seeds, quantity)?;
        let (value, count) = ratio(&sums);
        let residuals: Vec<f64> = sums.iter().map(|(sum, n)| (sum - value * n) / count).collect();
        let by_seed = seeds.iter().filter_map(|seed| Some(ratio(&seed.sums(quantity)?).0)).collect();
        Some(Self { mean: value, standard_error: mean(&residuals).standard_error, by_seed })
    }
}

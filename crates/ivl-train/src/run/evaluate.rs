//! The held-out loss: of the bases by themselves, and with the value.

use ivl_core::fusion::VocabProjection;
use ivl_core::row_chunks::row_ranges;
use ivl_models::Transformer;

use crate::Error;
use crate::bases::{FrozenBase, Split, Teacher};
use crate::config::{DpoConfig, RegularizationConfig};
use crate::data::batch::Batch;
use crate::data::plan::Plan;
use crate::objective::criterion::Criterion;
use crate::objective::loss::{Terms, differentiable_loss};
use crate::objective::preference::PairSums;
use crate::run::report::EvalReport;
use crate::step::forward::{BaseTarget, ForwardConfig, HeadGroup, forward};
use crate::step::learner::LearnerSettings;
use crate::step::pairs::MicroBatchPairs;

/// Rows that go through the heads at once.
const HEAD_ROWS: usize = 256;

/// Losses of every base by itself and with the value, on the same tokens; without a base, of the network by itself. They are
/// what the run minimises, without the penalties.
///
/// # Errors
/// [`Error::File`] if the examples cannot be read, [`Error::NotCached`] for logits that a base or teacher does not give.
pub(crate) fn evaluate(
    bases: &[FrozenBase],
    teacher: Option<&Teacher>,
    value: &Transformer,
    settings: &LearnerSettings,
    plan: &Plan,
    step: usize,
) -> Result<Vec<EvalReport>, Error> {
    let cascade = settings.connection.cascade_input();
    let config = ForwardConfig { cascade, head_rows: HEAD_ROWS, split: Split::Eval, teacher };
    let projections: Vec<VocabProjection> = bases.iter().map(|base| base.map.on(&value.device())).collect();
    let mut sums = vec![EvalSums::new(settings.criterion); bases.len().max(1)];
    for batch in plan.batches() {
        let batch = batch?;
        let targets = bases.iter().zip(&projections);
        let targets = targets.map(|(base, projection)| BaseTarget::new(base, 1.0, projection.clone()));
        for targets in config.group(targets.collect()) {
            for mut group in forward(value, config, &batch, targets)?.groups {
                if let Criterion::Preference(dpo) = &settings.criterion {
                    sum_pairs(dpo, value, &group, &batch, &mut sums);
                } else {
                    sum_losses(value, &mut group, &mut sums);
                }
            }
        }
    }
    let names = bases.iter().map(|base| Some(base.name.clone())).chain([None]);
    Ok(names.zip(sums).map(|(name, sums)| sums.report(step, name)).collect())
}

/// Adds the losses at the positions of a group.
fn sum_losses(value: &Transformer, group: &mut HeadGroup<'_>, sums: &mut [EvalSums]) {
    // A weight above 0 only makes the loss compute the term.
    let terms = RegularizationConfig { kl: 1.0, ..Default::default() };
    for rows in row_ranges(group.targets.len(), HEAD_ROWS) {
        let logits = value.head_rows(group.hidden.clone().slice([rows.clone()]));
        if group.bases.is_empty() {
            let targets = group.targets(rows.clone(), logits.dims()[1], None);
            let (found, _) = differentiable_loss(None, logits, targets, &terms, 1.0);
            sums[0].add(rows.len(), &found, None);
            continue;
        }
        let copies = std::iter::repeat_n(logits, group.bases.len());
        for (index, logits) in copies.enumerate() {
            let base_logits = group.bases[index].logits(rows.clone());
            let targets = group.targets(rows.clone(), base_logits.dims()[1], None);
            let (alone, _) = differentiable_loss(None, base_logits.clone(), targets.clone(), &terms, 1.0);
            let base = &group.bases[index];
            let (found, _) = base.loss(base_logits, logits, targets, &terms, 1);
            sums[base.index].add(rows.len(), &found, Some(&alone));
        }
    }
}

/// Adds the losses of the pairs of a group.
fn sum_pairs(
    dpo: &DpoConfig,
    value: &Transformer,
    group: &HeadGroup<'_>,
    batch: &Batch,
    sums: &mut [EvalSums],
) {
    let pairs = MicroBatchPairs::new(dpo, value, group, batch, HEAD_ROWS);
    for (base, pairs) in group.bases.iter().zip(pairs) {
        let (sums, found) = (&mut sums[base.index], pairs.sums());
        sums.base += dpo.loss_of_base() * found.pairs as f64;
        sums.fused += found.loss;
        sums.tokens += batch.targets.len();
        sums.pairs.merge(&found);
    }
}

/// Sums over held-out tokens.
#[derive(Debug, Clone)]
struct EvalSums {
    criterion: Criterion,
    /// Loss of the base by itself.
    base: f64,
    /// Loss with the value.
    fused: f64,
    kl: f64,
    tokens: usize,
    /// With the value.
    pairs: PairSums,
}

impl EvalSums {
    fn new(criterion: Criterion) -> Self {
        Self { criterion, base: 0.0, fused: 0.0, kl: 0.0, tokens: 0, pairs: PairSums::default() }
    }

    fn add(&mut self, tokens: usize, terms: &Terms, base: Option<&Terms>) {
        let [_, _, _, kl, _] = terms.read();
        self.fused += self.criterion.total(terms);
        self.kl += kl;
        self.base += base.map_or(0.0, |base| self.criterion.total(base));
        self.tokens += tokens;
    }

    /// Means over the tokens, or over the pairs; `base` is `None` without a base.
    fn report(self, step: usize, base: Option<String>) -> EvalReport {
        let count = if self.pairs.pairs > 0 { self.pairs.pairs } else { self.tokens };
        let mean = |sum: f64| sum / count.max(1) as f64;
        EvalReport {
            step,
            base_loss: base.is_some().then(|| mean(self.base)),
            kl: (base.is_some() && self.pairs.pairs == 0).then(|| mean(self.kl)),
            accuracy: self.pairs.accuracy(),
            margin: self.pairs.mean_margin(),
            base,
            loss: mean(self.fused),
            tokens: self.tokens,
        }
    }
}

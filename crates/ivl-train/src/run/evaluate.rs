//! The held-out loss: of the bases by themselves, and with the value.

use burn::tensor::activation::log_softmax;
use burn::tensor::{DType, Int, Tensor};
use ivl_core::fusion::VocabProjection;
use ivl_core::row_chunks::row_ranges;
use ivl_models::Transformer;

use ivl_models::Connection;

use crate::Error;
use crate::bases::{FrozenBase, Split};
use crate::config::RegularizationConfig;
use crate::data::batch::index_tensor;
use crate::data::plan::Plan;
use crate::objective::loss::{Terms, differentiable_loss};
use crate::run::report::EvalReport;
use crate::step::forward::{BaseTarget, ForwardConfig, HeadGroup, forward};

/// Rows that go through the heads at once.
const HEAD_ROWS: usize = 256;

/// Losses of every base by itself and with the value, on the same tokens; without a base, of the network by itself.
///
/// # Errors
/// [`Error::File`] if the examples cannot be read, [`Error::NotCached`] for logits that a base does not give.
pub(crate) fn evaluate(
    bases: &[FrozenBase],
    value: &Transformer,
    connection: Connection,
    plan: &Plan,
    step: usize,
) -> Result<Vec<EvalReport>, Error> {
    let config =
        ForwardConfig { cascade: connection.cascade_input(), head_rows: HEAD_ROWS, split: Split::Eval };
    let projections: Vec<VocabProjection> = bases.iter().map(|base| base.map.on(&value.device())).collect();
    let mut sums = vec![EvalSums::default(); bases.len().max(1)];
    for batch in plan.batches() {
        let batch = batch?;
        let targets = bases.iter().zip(&projections);
        let targets = targets.map(|(base, projection)| BaseTarget::new(base, 1.0, projection.clone()));
        for targets in config.group(targets.collect()) {
            for mut group in forward(value, config, &batch, targets)?.groups {
                sum_losses(value, &mut group, &mut sums);
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
        let targets = index_tensor(&group.targets[rows.clone()], &logits.device());
        if group.bases.is_empty() {
            let (found, _) = differentiable_loss(None, logits, targets, &terms, 1.0);
            sums[0].add(rows.len(), &found, None);
            continue;
        }
        let copies = std::iter::repeat_n(logits, group.bases.len());
        for (base, logits) in group.bases.iter_mut().zip(copies) {
            let base_logits = base.logits(rows.clone());
            let base_loss = cross_entropy(base_logits.clone(), targets.clone());
            let (found, _) = base.loss(base_logits, logits, targets.clone(), &terms, 1);
            sums[base.index].add(rows.len(), &found, Some(base_loss));
        }
    }
}

/// The summed cross-entropy of logits.
fn cross_entropy(logits: Tensor<2>, targets: Tensor<1, Int>) -> f64 {
    let logprobs = log_softmax(logits.cast(DType::F32), 1).gather(1, targets.unsqueeze_dim(1));
    -f64::from(logprobs.sum().into_scalar::<f32>())
}

/// Sums over held-out tokens.
#[derive(Debug, Clone, Default)]
struct EvalSums {
    /// Cross-entropy of the base by itself.
    base: f64,
    /// Cross-entropy with the value.
    fused: f64,
    kl: f64,
    tokens: usize,
}

impl EvalSums {
    fn add(&mut self, tokens: usize, terms: &Terms, base: Option<f64>) {
        let [cross_entropy, _, _, kl] = terms.read();
        self.fused += cross_entropy;
        self.kl += kl;
        self.base += base.unwrap_or(0.0);
        self.tokens += tokens;
    }

    /// Means over the tokens; `base` is `None` without a base.
    fn report(self, step: usize, base: Option<String>) -> EvalReport {
        let mean = |sum: f64| sum / self.tokens.max(1) as f64;
        EvalReport {
            step,
            base_loss: base.is_some().then(|| mean(self.base)),
            kl: base.is_some().then(|| mean(self.kl)),
            base,
            loss: mean(self.fused),
            tokens: self.tokens,
        }
    }
}

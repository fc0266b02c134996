//! Held-out loss: of bases alone, and with the value plugged in.

use burn::tensor::activation::log_softmax;
use burn::tensor::{DType, Tensor};
use ivl_core::causal_lm::SelectedLogits;
use ivl_core::fusion::VocabProjection;
use ivl_models::transformer::rows_at;
use ivl_models::{Connection, Transformer};

use crate::Error;
use crate::bases::{FrozenBase, Split};
use crate::config::RegularizationConfig;
use crate::data::batch::{Batch, index_tensor};
use crate::data::plan::Plan;
use crate::objective::connection::{TrainedFirst, cascade_hidden, residual_hidden};
use crate::objective::loss::{mapped_loss, value_loss};
use crate::run::report::EvalReport;

/// Positions that go through the heads at once.
const HEAD_ROWS: usize = 256;

/// Losses of every base, alone and with the value, on the same tokens; without a base, of the network by itself. A residual
/// network is run once for all bases.
///
/// # Errors
/// [`Error::File`] if the examples cannot be read.
pub(crate) fn evaluate(
    bases: &[FrozenBase],
    value: &Transformer,
    connection: Connection,
    plan: &Plan,
    step: usize,
) -> Result<Vec<EvalReport>, Error> {
    let mut sums = vec![Sums::default(); bases.len().max(1)];
    let projections: Vec<VocabProjection> = bases.iter().map(|base| base.map.on(&value.device())).collect();
    for batch in plan.batches() {
        let batch = batch?;
        let read = || batch.tokens(&value.device());
        let residual = || residual_hidden(value, &batch, read());
        match connection.cascade_input() {
            None => {
                let all = residual();
                let hidden =
                    |positions: &[u32]| rows_at(all.clone(), index_tensor(positions, &value.device()));
                if bases.is_empty() {
                    sums[0].add(&batch, value, hidden(&batch.positions), None);
                }
                for ((base, projection), sums) in bases.iter().zip(&projections).zip(&mut sums) {
                    let rewritten = base.other_tokens.as_ref().map(|tokens| tokens.rewrite(&batch));
                    let (read, positions) = match &rewritten {
                        Some(rewritten) if rewritten.is_empty() => continue,
                        Some(rewritten) => (&rewritten.batch, &rewritten.value_positions),
                        None => (&batch, &batch.positions),
                    };
                    let Some(logits) = base.logits(read, &read.positions, Split::Eval) else { continue };
                    sums.add(read, value, hidden(positions), Some((&logits, projection)));
                }
            }
            Some(input) => {
                let order = TrainedFirst::new(&batch);
                for ((base, projection), sums) in bases.iter().zip(&projections).zip(&mut sums) {
                    let Some(logits) = base.logits(&batch, &order.positions, Split::Eval) else { continue };
                    let features = order.features(value, &logits, HEAD_ROWS);
                    let hidden = cascade_hidden(value, input, &batch, read(), features);
                    sums.add(&batch, value, hidden, Some((&logits, projection)));
                }
            }
        }
    }
    let names = bases.iter().map(|base| Some(base.name.clone())).chain(std::iter::once(None));
    let report = |(name, sums): (Option<String>, Sums)| {
        let mean = |sum: f64| sum / sums.tokens.max(1) as f64;
        EvalReport {
            step,
            base_loss: name.is_some().then(|| mean(sums.alone)),
            kl: name.is_some().then(|| mean(sums.kl)),
            base: name,
            loss: mean(sums.with),
            tokens: sums.tokens,
        }
    };
    Ok(names.zip(sums).map(report).collect())
}

/// Sums over tokens.
#[derive(Debug, Clone, Default)]
struct Sums {
    alone: f64,
    with: f64,
    kl: f64,
    tokens: usize,
}

impl Sums {
    /// Adds a batch, from the network's hidden states at its trained positions.
    fn add(
        &mut self,
        batch: &Batch,
        value: &Transformer,
        hidden: Tensor<2>,
        base: Option<(&SelectedLogits<'_>, &VocabProjection)>,
    ) {
        // Weights above 0 only ask for the terms to be computed.
        let terms = RegularizationConfig { kl: 1.0, ..Default::default() };
        let targets = batch.target_tensor(&hidden.device());
        let n = hidden.dims()[0];
        self.tokens += n;
        for start in (0..n).step_by(HEAD_ROWS) {
            let rows = start..(start + HEAD_ROWS).min(n);
            let logits = value.head_rows(hidden.clone().slice([rows.clone()]));
            let targets = targets.clone().slice([rows.clone()]);
            let (base, projection, logits) = match base {
                Some((base, projection)) => {
                    (Some(base.rows(rows).cast(DType::F32)), Some(projection), projection.rows(logits))
                }
                None => (None, None, logits),
            };
            if let Some(base) = base.clone() {
                let logprobs =
                    log_softmax(base.cast(DType::F32), 1).gather(1, targets.clone().unsqueeze_dim(1));
                self.alone -= f64::from(logprobs.sum().into_scalar::<f32>());
            }
            let found = match (base, projection) {
                (Some(base), Some(projection)) => mapped_loss(projection, base, logits, targets, &terms).0,
                (base, _) => value_loss(base, logits, targets, &terms, 1.0).terms,
            };
            let [with, _, _, kl] = found.read();
            self.with += with;
            self.kl += kl;
        }
    }
}

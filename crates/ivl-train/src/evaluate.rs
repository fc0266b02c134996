//! Held-out loss: of bases alone, and with the value plugged in.

use burn::tensor::activation::log_softmax;
use burn::tensor::{DType, Tensor};
use ivl_core::{LazyLogits, Projection};
use ivl_models::Transformer;

use crate::Error;
use crate::bases::{FrozenBase, Split};
use crate::batch::Batch;
use crate::config::RegularizationConfig;
use crate::connection::{Connection, TrainedFirst, cascade_hidden, residual_hidden};
use crate::loss::value_loss;
use crate::plan::Plan;
use crate::report::EvalReport;

/// Positions that go through the heads at once.
const HEAD_ROWS: usize = 256;

/// Losses of every base, alone and with the value, on the same tokens; without a base, of the network by itself. A residual
/// network is run once for all bases.
///
/// # Errors
/// [`Error::Io`] if the examples cannot be read.
pub(crate) fn evaluate(
    bases: &[FrozenBase],
    value: &Transformer,
    connection: Connection,
    plan: &Plan,
    step: usize,
) -> Result<Vec<EvalReport>, Error> {
    let mut sums = vec![Sums::default(); bases.len().max(1)];
    let mut tokens = 0;
    for batch in plan.batches() {
        let batch = batch?;
        let read = || batch.tokens(&value.device());
        let residual = || residual_hidden(value, &batch, read());
        match connection.cascade_input() {
            _ if bases.is_empty() => sums[0].add(&batch, value, residual(), None),
            None => {
                let hidden = residual();
                for (base, sums) in bases.iter().zip(&mut sums) {
                    let Some(logits) = base.logits(&batch, &batch.positions, Split::Eval) else { continue };
                    sums.add(&batch, value, hidden.clone(), Some((&logits, &base.projection)));
                }
            }
            Some(input) => {
                let order = TrainedFirst::new(&batch);
                for (base, sums) in bases.iter().zip(&mut sums) {
                    let Some(logits) = base.logits(&batch, &order.positions, Split::Eval) else { continue };
                    let features = order.features(value, &logits, HEAD_ROWS);
                    let hidden = cascade_hidden(value, input, &batch, read(), features);
                    sums.add(&batch, value, hidden, Some((&logits, &base.projection)));
                }
            }
        }
        tokens += batch.targets.len();
    }
    let names = bases.iter().map(|base| Some(base.name.clone())).chain(std::iter::once(None));
    let mean = |sum: f64| sum / tokens.max(1) as f64;
    let report = |(name, sums): (Option<String>, Sums)| EvalReport {
        step,
        base_loss: name.is_some().then(|| mean(sums.alone)),
        kl: name.is_some().then(|| mean(sums.kl)),
        base: name,
        loss: mean(sums.with),
        tokens,
    };
    Ok(names.zip(sums).map(report).collect())
}

/// Sums over tokens.
#[derive(Debug, Clone, Default)]
struct Sums {
    alone: f64,
    with: f64,
    kl: f64,
}

impl Sums {
    /// Adds a batch, from the network's hidden states at its trained positions.
    fn add(
        &mut self,
        batch: &Batch,
        value: &Transformer,
        hidden: Tensor<2>,
        base: Option<(&LazyLogits<'_>, &Projection)>,
    ) {
        // Weights above 0 only ask for the terms to be computed.
        let terms = RegularizationConfig { kl: 1.0, ..Default::default() };
        let targets = batch.target_tensor(&hidden.device());
        let n = hidden.dims()[0];
        for start in (0..n).step_by(HEAD_ROWS) {
            let rows = start..(start + HEAD_ROWS).min(n);
            let logits = value.head_rows(hidden.clone().slice([rows.clone()]));
            let targets = targets.clone().slice([rows.clone()]);
            let (base, logits) = match base {
                Some((base, projection)) => (Some(base(rows)), projection.rows(logits)),
                None => (None, logits),
            };
            if let Some(base) = base.clone() {
                let logprobs =
                    log_softmax(base.cast(DType::F32), 1).gather(1, targets.clone().unsqueeze_dim(1));
                self.alone -= f64::from(logprobs.sum().into_scalar::<f32>());
            }
            let [with, _, _, kl] = value_loss(base, logits, targets, &terms).terms.read();
            self.with += with;
            self.kl += kl;
        }
    }
}

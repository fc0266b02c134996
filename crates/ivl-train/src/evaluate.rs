//! Held-out loss: of bases alone, and with the value plugged in.

use std::rc::Rc;

use burn::tensor::activation::log_softmax;
use burn::tensor::{DType, Tensor};
use ivl_core::{CausalLm, Projection, fuse};
use ivl_models::Transformer;

use crate::batch::Plan;
use crate::trainer::EvalReport;

/// A base that training never sees.
pub struct HeldOut {
    /// For the report.
    pub name: String,
    /// The base.
    pub lm: Rc<dyn CausalLm>,
    /// From the value's vocabulary to this base's.
    pub projection: Projection,
}

/// Losses of the training base and of every held-out base, alone and with the value, on the same tokens. The value's
/// logits are computed once for all.
pub(crate) fn evaluate(
    base: Option<&Rc<dyn CausalLm>>,
    value: &Transformer,
    held_out: &[HeldOut],
    plan: &Plan,
    step: usize,
) -> Vec<EvalReport> {
    let mut sums = vec![(0.0, 0.0); held_out.len() + 1];
    let mut tokens = 0;
    let device = value.device();
    for batch in plan.batches() {
        let targets = batch.target_tensor(&device);
        let loss = |logits: Tensor<2>| -> f64 {
            let logprobs =
                log_softmax(logits.cast(DType::F32), 1).gather(1, targets.clone().unsqueeze_dim(1));
            -f64::from(logprobs.sum().into_scalar::<f32>())
        };
        let mut cache = value.new_cache(&batch.padding());
        let logits = value.logits_at(batch.tokens(&device), batch.position_tensor(&device), &mut cache);
        match base {
            Some(base) => {
                let base = batch.logits(&**base);
                sums[0].0 += loss(base.clone());
                sums[0].1 += loss(fuse(base, logits.clone(), 1.0));
            }
            None => sums[0].1 += loss(logits.clone()),
        }
        for (sum, held_out) in sums[1..].iter_mut().zip(held_out) {
            let base = batch.logits(&*held_out.lm);
            sum.0 += loss(base.clone());
            sum.1 += loss(fuse(base, held_out.projection.rows(logits.clone()), 1.0));
        }
        tokens += batch.targets.len();
    }
    let names = std::iter::once(base.map(|base| base.name().to_owned()))
        .chain(held_out.iter().map(|held_out| Some(held_out.name.clone())));
    let mean = |sum: f64| sum / tokens.max(1) as f64;
    let report = |(name, (alone, with)): (Option<String>, (f64, f64))| EvalReport {
        step,
        base_loss: name.is_some().then(|| mean(alone)),
        base: name,
        loss: mean(with),
        tokens,
    };
    names.zip(sums).map(report).collect()
}

//! A base and its values as one causal LM.

use std::sync::Arc;

use ivl_core::cross_tokenizer::ByteFusedLm;
use ivl_core::fusion::{CascadeLm, Gate, GateLog, GatedLm};
use ivl_core::{CausalLm, FusedLm, Value};
use ivl_models::{CascadeNet, TransformerLm};

use super::value::{AttachedValue, Join};
use crate::error::Result;

/// Fuses a base with values, each at a weight, in their [order](AttachedValue::order). Weights in memory are shared, so this costs little.
///
/// Cascade values read the base's own predictions. Values of the same ids and mapped values are added to that, where a gate
/// lets them. Values over bytes are fused with all of it.
pub(crate) fn fuse(
    base: &TransformerLm,
    values: &[(&AttachedValue, f64)],
    gate: Option<Gate>,
) -> Result<(FusedLm, Option<Arc<GateLog>>)> {
    let mut lm: Box<dyn CausalLm> = Box::new(base.clone());
    let (mut added, mut over_bytes) = (Vec::new(), Vec::new());
    for &(value, alpha) in values {
        match &value.join {
            Join::Cascade(input) => {
                let (net, vocab) = value.lm.clone().into_parts();
                let net = CascadeNet::new(net, *input, vocab, value.lm.name());
                lm = Box::new(CascadeLm::new(lm, Box::new(net), alpha)?);
            }
            Join::SameIds => added.push(Value::new(Box::new(value.lm.clone()), alpha)),
            Join::Mapped(map) => {
                let tokenizer = Box::new(value.tokenizer().clone());
                let value = Value::new(Box::new(value.lm.clone()), alpha);
                added.push(value.with_map(map.clone()).with_tokenizer(tokenizer));
            }
            Join::OverBytes { map, reference, config } => {
                over_bytes.push((value, alpha, map, reference, *config))
            }
        }
    }
    let mut fused = FusedLm::new(lm, added)?;
    let mut log = None;
    if let Some(gate) = gate {
        let gated = GatedLm::new(fused, gate);
        log = Some(gated.log());
        fused = FusedLm::new(Box::new(gated), Vec::new())?;
    }
    for (value, alpha, map, reference, config) in over_bytes {
        let (reference, lm) = (Box::new(reference.clone()), Box::new(value.lm.clone()));
        let tokenizer = Box::new(value.tokenizer().clone());
        let bytes = ByteFusedLm::new(Box::new(fused), reference, lm, alpha, map, tokenizer, config)?;
        fused = FusedLm::new(Box::new(bytes), Vec::new())?;
    }
    Ok((fused, log))
}

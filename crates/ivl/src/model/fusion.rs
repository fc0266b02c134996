//! A base and its values as one causal LM.

use ivl_core::cross_tokenizer::{ByteFusedLm, ByteFusion, RetokenizedValue};
use ivl_core::fusion::{BaseLm, CascadeLm, Gate, GatedLm};
use ivl_core::{CausalLm, FusedLm, Value};
use ivl_models::{CascadeNet, TransformerLm};

use super::value::{AttachedValue, Join};
use crate::error::Result;

/// Fuses a base with values, each at a weight, in their [order](AttachedValue::order). Weights in memory are shared, so this
/// costs little.
///
/// Cascade values read the base's own predictions. Values of the same ids and mapped values are added to that. Values over
/// bytes are fused with all of it.
pub(crate) fn fuse(base: &TransformerLm, values: &[(&AttachedValue, f64)]) -> Result<BaseLm> {
    let mut lm = BaseLm::plain(base.clone());
    for &(value, alpha) in values {
        if let Join::Cascade(input) = value.join {
            let (net, vocab) = value.lm.clone().into_parts();
            let net = CascadeNet::new(net, input, vocab, &value.lm.info().name);
            lm = CascadeLm::on(lm, Box::new(net), alpha)?.into();
        }
    }
    lm = add(lm, values)?.into();
    for &(value, alpha) in values {
        if let Join::OverBytes { map, reference, config } = &value.join {
            let fusion = ByteFusion {
                base: lm,
                reference: Box::new(reference.clone()),
                value: Box::new(value.lm.clone()),
                alpha,
                map,
                tokenizer: Box::new(value.tokenizer().clone()),
                config: *config,
            };
            lm = BaseLm::stack(ByteFusedLm::new(fusion)?);
        }
    }
    Ok(lm)
}

/// Fuses a base with values that are consulted where a gate says so; [`AttachedValue::ungatable`] says which can be.
pub(crate) fn fuse_gated(
    base: &TransformerLm,
    values: &[(&AttachedValue, f64)],
    gate: Gate,
) -> Result<GatedLm> {
    Ok(GatedLm::new(add(BaseLm::plain(base.clone()), values)?, gate))
}

/// Adds the values that are added to logits.
fn add(base: BaseLm, values: &[(&AttachedValue, f64)]) -> Result<FusedLm> {
    let mut added = Vec::new();
    for &(value, alpha) in values {
        let lm = Box::new(value.lm.clone());
        match &value.join {
            Join::Cascade(_) | Join::OverBytes { .. } => {}
            Join::SameIds => added.push(Value::new(lm, alpha).with_gate(value.gate)),
            Join::Mapped(map) => {
                let tokenizer = Box::new(value.tokenizer().clone());
                let lm = RetokenizedValue::new(base.vocab(), lm, map.clone(), tokenizer)?;
                added.push(Value::partial(Box::new(lm), alpha).with_gate(value.gate));
            }
        }
    }
    Ok(FusedLm::on(base, added)?)
}

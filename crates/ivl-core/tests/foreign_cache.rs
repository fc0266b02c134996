//! The cache of one model given to another is an error that names both structures, not a panic.

mod greedy;
mod toy;

use greedy::{Greedy, vocab};
use ivl_core::cross_tokenizer::{ByteFusedLm, ByteFusion, ByteFusionConfig, RetokenizedValue};
use ivl_core::decode::{GenerateConfig, Session};
use ivl_core::fusion::{BaseLm, CascadeLm, CascadeValue, DecodeBatch, Gate, GatedLm};
use ivl_core::tokens::token_tensor;
use ivl_core::{Cache, CausalLm, Error, FusedLm, RowWeighted, Value, Vocab, VocabMap};

use burn::tensor::{Device, Int, Tensor};
use ivl_core::cache::LayerCache;
use ivl_core::causal_lm::ModelInfo;
use toy::Toy;

fn ids() -> Vocab {
    vocab(&["a", "b", "ab"])
}

fn toy(seed: u64) -> Toy {
    Toy::new(seed, ids())
}

fn fused() -> FusedLm {
    FusedLm::new(Box::new(toy(1)), vec![Value::new(Box::new(toy(2)), 1.0)]).expect("one vocabulary")
}

/// Adds nothing, and keeps the number of positions.
struct Silent(Vocab);

impl CascadeValue for Silent {
    fn vocab(&self) -> &Vocab {
        &self.0
    }
    fn max_positions(&self) -> usize {
        64
    }
    fn device(&self) -> Device {
        Device::flex()
    }
    fn new_cache(&self, padding: &[usize]) -> Cache {
        Cache::Layers(LayerCache::new(0, padding))
    }
    fn forward(
        &self,
        tokens: Tensor<2, Int>,
        predicted: Tensor<3>,
        cache: &mut Cache,
    ) -> Result<Tensor<3>, Error> {
        cache.layers(0)?.advance(tokens.dims()[1]);
        Ok(predicted.zeros_like())
    }
    fn info(&self) -> ModelInfo {
        ModelInfo::new("silent")
    }
}

/// A model of every structure.
fn models() -> Vec<(&'static str, Box<dyn CausalLm>)> {
    let map = VocabMap::same_ids(&ids(), &ids()).expect("one vocabulary");
    let tokenizer = || Box::new(Greedy::new(&ids()));
    let cross = RetokenizedValue::new(&ids(), Box::new(toy(2)), map.clone(), tokenizer()).expect("fits");
    let bytes = ByteFusedLm::new(ByteFusion {
        base: BaseLm::plain(toy(1)),
        reference: Box::new(toy(2)),
        value: Box::new(toy(3)),
        alpha: 1.0,
        map: &map,
        tokenizer: tokenizer(),
        config: ByteFusionConfig::default(),
    });
    let two = vec![Value::new(Box::new(toy(2)), 1.0), Value::new(Box::new(toy(3)), 1.0)];
    vec![
        ("plain", Box::new(toy(1))),
        ("one value", Box::new(fused())),
        ("two values", Box::new(FusedLm::new(Box::new(toy(1)), two).expect("one vocabulary"))),
        ("nested", Box::new(FusedLm::on(fused(), vec![Value::new(Box::new(toy(3)), 1.0)]).expect("fits"))),
        ("cascade", Box::new(CascadeLm::new(Box::new(toy(1)), Box::new(Silent(ids())), 1.0).expect("fits"))),
        (
            "cross",
            Box::new(
                FusedLm::new(Box::new(toy(1)), vec![Value::partial(Box::new(cross), 1.0)]).expect("fits"),
            ),
        ),
        ("bytes", Box::new(bytes.expect("fits"))),
        ("gated", Box::new(GatedLm::new(fused(), Gate::Every { tokens: 1 }))),
    ]
}

#[test]
fn every_model_refuses_the_cache_of_every_other() {
    let models = models();
    let tokens = || token_tensor(&[0, 2, 3], 1, &Device::flex());
    for (name, lm) in &models {
        for (other, maker) in &models {
            let mut cache = maker.new_cache(&[0]);
            let read = [
                lm.forward(tokens(), &mut cache).map(|_| ()),
                lm.next_logits(tokens(), &mut maker.new_cache(&[0])).map(|_| ()),
            ];
            for read in read {
                match read {
                    Ok(()) => assert_eq!(name, other),
                    Err(Error::ForeignCache { expected, got }) => assert_ne!(expected, got),
                    Err(error) => panic!("{name} with the cache of {other}: {error}"),
                }
            }
        }
    }
}

#[test]
fn rows_of_one_model_do_not_join_those_of_another() {
    let (plain, stack) = (BaseLm::plain(toy(1)), fused());
    let batch = |lm: &dyn RowWeighted, weights: Vec<f64>| {
        let mut batch = DecodeBatch::new(lm, &[0], vec![weights]).expect("its own cache");
        batch.next_logits(lm, token_tensor(&[0, 2], 1, &lm.device())).expect("its own cache");
        batch
    };
    let mut rows = batch(&stack, vec![1.0]);
    let refused = rows.join(batch(&plain, Vec::new())).expect_err("another model");
    assert!(
        refused.to_string().contains("expected one of a base with 1 values, got one of 1 layers"),
        "{refused}"
    );
    assert_eq!(rows.rows(), 1);
    assert!(matches!(
        rows.next_logits(&plain, token_tensor(&[2], 1, &plain.device())),
        Err(Error::ForeignCache { .. })
    ));
}

#[test]
fn a_session_goes_on_with_its_own_model_only() {
    let (stack, plain) = (fused(), toy(1));
    let mut session = Session::new(&stack);
    let config = GenerateConfig::default().max_new_tokens(3).end_tokens(Vec::new());
    let answer = |session: &mut Session, lm: &dyn CausalLm, prompt: &[u32]| {
        session.generate(lm, prompt, &config).expect("fits").collect::<Result<Vec<_>, _>>()
    };
    assert_eq!(answer(&mut session, &stack, &[0, 2, 3]).expect("its own model").len(), 3);
    let refused = answer(&mut session, &plain, &[0, 2, 3, 2]);
    assert!(matches!(refused, Err(Error::ForeignCache { .. })), "{refused:?}");
    assert_eq!(answer(&mut session, &plain, &[0, 2, 3, 2]).expect("a new start").len(), 3);
}

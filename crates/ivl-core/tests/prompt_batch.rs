//! Prompts that begin alike: every row is written as if it were alone, and the beginning is read once.

mod toy;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::tensor::{Device, Int, Tensor};
use ivl_core::causal_lm::ModelInfo;
use ivl_core::decode::{EndTokens, GenerateConfig, GeneratedToken, generate};
use ivl_core::fusion::GatedLm;
use ivl_core::{Cache, CausalLm, Error, FusedLm, Value, Vocab};
use proptest::prelude::*;
use toy::{Toy, letters};

const SIZE: usize = 8;

/// A model that counts the tokens that it reads, padding included.
struct Counted {
    toy: Toy,
    tokens: Arc<AtomicUsize>,
}

impl CausalLm for Counted {
    fn vocab(&self) -> &Vocab {
        self.toy.vocab()
    }

    fn max_positions(&self) -> usize {
        self.toy.max_positions()
    }

    fn device(&self) -> Device {
        self.toy.device()
    }

    fn new_cache(&self, padding: &[usize]) -> Cache {
        self.toy.new_cache(padding)
    }

    fn forward(&self, tokens: Tensor<2, Int>, cache: &mut Cache) -> Result<Tensor<3>, Error> {
        self.tokens.fetch_add(tokens.dims().iter().product(), Ordering::Relaxed);
        self.toy.forward(tokens, cache)
    }

    fn info(&self) -> ModelInfo {
        self.toy.info()
    }
}

fn fused(seed: u64) -> FusedLm {
    let [base, value] = [seed, seed + 2].map(|seed| Toy::new(seed, letters(SIZE, SIZE)));
    FusedLm::new(Box::new(base), vec![Value::new(Box::new(value), 0.8)]).expect("one vocabulary")
}

/// The tokens of each row.
fn written(lm: &dyn CausalLm, prompts: &[Vec<u32>]) -> Vec<Vec<GeneratedToken>> {
    let config = GenerateConfig::default().end_tokens(EndTokens::none()).max_new_tokens(4);
    let mut rows = vec![Vec::new(); prompts.len()];
    for token in generate(lm, prompts, &config).expect("letters") {
        let token = token.expect("finite logits");
        rows[token.row].push(token);
    }
    rows
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn each_row_is_written_as_if_it_were_alone(
        seed in 0u64..1000,
        gated in any::<bool>(),
        beginning in prop::collection::vec(0..SIZE as u32, 0..24),
        rests in prop::collection::vec(prop::collection::vec(0..SIZE as u32, 1..5), 1..6),
    ) {
        let lm: Box<dyn CausalLm> = match gated {
            true => Box::new(GatedLm::new(fused(seed), "margin<0.3".parse().expect("a gate"))),
            false => Box::new(fused(seed)),
        };
        let prompts: Vec<Vec<u32>> = rests.iter().map(|rest| [&beginning[..], rest].concat()).collect();
        for (together, prompt) in written(&*lm, &prompts).iter().zip(prompts) {
            let alone = written(&*lm, &[prompt]).remove(0);
            prop_assert_eq!(together.len(), alone.len());
            for (together, alone) in together.iter().zip(&alone) {
                prop_assert!((together.logprob - alone.logprob).abs() < 1e-4, "{together:?}, alone {alone:?}");
            }
        }
    }
}

#[test]
fn a_common_beginning_is_read_once() {
    let tokens = Arc::new(AtomicUsize::new(0));
    let beginning: Vec<u32> = (0..20).map(|i| i % SIZE as u32).collect();
    let rests: [&[u32]; 4] = [&[1, 2], &[2], &[3, 3, 3], &[4]];
    let prompts: Vec<Vec<u32>> = rests.iter().map(|rest| [&beginning[..], rest].concat()).collect();
    for (seed, first_pass) in [
        // Attention: 20 tokens, then the last three of each prompt.
        (2, 20 + 4 * 3),
        // A recurrent model cannot give rows beginnings of different lengths: four rows of 23 tokens with padding.
        (3, 4 * 23),
    ] {
        tokens.store(0, Ordering::Relaxed);
        let lm = Counted { toy: Toy::new(seed, letters(SIZE, SIZE)), tokens: tokens.clone() };
        written(&lm, &prompts);
        // Three more tokens are read in each row; nothing is read after the fourth.
        assert_eq!(tokens.load(Ordering::Relaxed), first_pass + 3 * 4, "seed {seed}");
    }
}

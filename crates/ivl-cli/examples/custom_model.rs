//! A model of your own: implement `CausalLm`, and everything else works on it. Here the value is not a network at all, but a
//! rule that favours vowels after consonants.
//!
//! ```text
//! cargo run --release -p ivl-cli --example custom_model
//! ```

#![expect(clippy::print_stdout, reason = "an example speaks on standard output")]

use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use ivl_core::cache::LayerCache;
use ivl_core::decode::{EndTokens, GenerateConfig, generate};
use ivl_core::score::score;
use ivl_core::tokens::host_ids;
use ivl_core::{Cache, CausalLm, Error, FusedLm, Value, Vocab};
use ivl_models::Checkpoint;

/// A bonus for tokens that begin with a vowel, after a token that ends with a consonant.
struct Vowels {
    vocab: Vocab,
    bonus: f32,
    device: Device,
}

impl Vowels {
    fn logits_after(&self, id: u32) -> Vec<f32> {
        let vowel =
            |byte: Option<&u8>| byte.is_some_and(|byte| b"aeiou".contains(&byte.to_ascii_lowercase()));
        let last = self.vocab.text_bytes(id).last();
        let consonant = last.is_some_and(u8::is_ascii_alphabetic) && !vowel(last);
        let ids = 0..self.vocab.size() as u32;
        ids.map(|id| if consonant && vowel(self.vocab.text_bytes(id).first()) { self.bonus } else { 0.0 })
            .collect()
    }
}

impl CausalLm for Vowels {
    fn vocab(&self) -> &Vocab {
        &self.vocab
    }

    fn max_positions(&self) -> usize {
        usize::MAX
    }

    fn device(&self) -> Device {
        self.device.clone()
    }

    /// A rule on the last token remembers nothing: a cache of no layers counts positions.
    fn new_cache(&self, padding: &[usize]) -> Cache {
        Cache::Layers(LayerCache::new(0, padding))
    }

    fn forward(&self, tokens: Tensor<2, Int>, cache: &mut Cache) -> Result<Tensor<3>, Error> {
        let [batch, seq] = tokens.dims();
        cache.layers(0)?.advance(seq);
        let logits = host_ids(tokens).into_iter().flat_map(|id| self.logits_after(id)).collect();
        let data = TensorData::new::<f32, _>(logits, [batch, seq, self.vocab.size()]);
        Ok(Tensor::from_data(data, (&self.device, DType::F32)))
    }
}

fn main() -> anyhow::Result<()> {
    let device = Device::flex();
    let checkpoint = Checkpoint::open("examples/first-value/large".as_ref())?;
    let (base, tokenizer) = checkpoint.load_lm(&device, DType::F32)?;
    let rule = Vowels { vocab: base.vocab().clone(), bonus: 2.0, device };
    let fused = FusedLm::new(Box::new(base), vec![Value::new(Box::new(rule), 1.0)])?;

    let ids = tokenizer.encode("Suna lives in", true)?;
    let config = GenerateConfig::default().max_new_tokens(16).end_tokens(EndTokens::none());
    for lm in [fused.base(), &fused] {
        let mut text = String::new();
        for step in generate(lm, &[&ids], &config)? {
            text += &step?.text;
        }
        let [score] = score(lm, &[&ids])?.try_into().map_err(|_| anyhow::anyhow!("one text, one score"))?;
        println!("log-likelihood of the prompt {:.2}, and on:{text}", score.sum());
    }
    Ok(())
}

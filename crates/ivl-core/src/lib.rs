//! Logits in, logits out: the mathematics of inverse value learning, without files, tokenizers or weights.
//!
//! A *base* is a pre-trained causal LM. A *value* is a small network that was trained so that, added to a frozen base,
//! it explains demonstrations. At inference the same value is added to other bases:
//!
//! ```text
//! l = l_base + sum_i alpha_i * M_i(l_value_i)
//! ```
//!
//! with `alpha_i` the weight of value `i` and `M_i` the map from its vocabulary to the base's. The nouns of this crate are
//! [`CausalLm`] (tokens to logits), [`Value`] (a causal LM with a weight and a map), [`FusedLm`] (a base with values, itself
//! a `CausalLm`) and [`Vocab`] (the token of each logit). A base with values is a [`ValueStack`], whose logits are known
//! with and without each value; a [`RowWeighted`] stack gives each row of a batch weights of its own.
//!
//! # Example: fuse two toy models
//!
//! ```
//! use burn::tensor::{Device, Int, Tensor};
//! use ivl_core::{Cache, CausalLm, Error, FusedLm, Value, Vocab};
//! use ivl_core::{cache::LayerCache, decode::{GenerateConfig, generate}, vocab::Token};
//!
//! /// After token `t` the next logits are row `t` of a table.
//! struct Bigram(Vocab, Tensor<2>);
//!
//! impl CausalLm for Bigram {
//!     fn vocab(&self) -> &Vocab { &self.0 }
//!     fn max_positions(&self) -> usize { 64 }
//!     fn device(&self) -> Device { self.1.device() }
//!     fn new_cache(&self, padding: &[usize]) -> Cache { Cache::Layers(LayerCache::new(0, padding)) }
//!     fn forward(&self, tokens: Tensor<2, Int>, cache: &mut Cache) -> Result<Tensor<3>, Error> {
//!         let [batch, seq] = tokens.dims();
//!         cache.layers(0)?.advance(seq);
//!         Ok(self.1.clone().select(0, tokens.reshape([-1])).reshape([batch, seq, 2]))
//!     }
//! }
//!
//! let device = Device::flex();
//! let vocab = Vocab::new(vec![Some(Token::text(*b"a")), Some(Token::text(*b"b"))]);
//! let table = |rows: [[f32; 2]; 2]| Box::new(Bigram(vocab.clone(), Tensor::from_floats(rows, &device)));
//! // The base repeats itself; the value wants change, a little more strongly.
//! let base = table([[1.0, 0.0], [0.0, 1.0]]);
//! let value = table([[0.0, 1.5], [1.5, 0.0]]);
//! let fused = FusedLm::new(base, vec![Value::new(value, 1.0)])?;
//! let config = GenerateConfig::default().max_new_tokens(4);
//! let text: String =
//!     generate(&fused, &[[0]], &config)?.map(|step| Ok(step?.text)).collect::<Result<_, Error>>()?;
//! assert_eq!(text, "baba");
//! # Ok::<(), Error>(())
//! ```

pub mod cache;
pub mod causal_lm;
pub mod cross_tokenizer;
pub mod decode;
mod distribution;
mod error;
pub mod fusion;
pub mod row_chunks;
pub mod score;
pub mod tokens;
pub mod vocab;

pub use cache::Cache;
pub use causal_lm::CausalLm;
pub use error::Error;
pub use fusion::{FusedLm, RowWeighted, Value, ValueStack};
pub use vocab::{Vocab, VocabMap};

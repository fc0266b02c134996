//! Inverse value learning: train a small *value* once, against a small base, and attach it to other language models.
//!
//! A base is a pre-trained causal LM that stays frozen. A value is a small network whose logits are added to the base's:
//!
//! ```text
//! l = l_base + sum_i alpha_i * M_i(l_value_i)
//! ```
//!
//! `alpha_i` is the weight of value `i`; `M_i` maps its vocabulary to the base's, and is the identity where both have the same
//! tokenizer. A value that was trained against one base also works on others, so a skill is trained once and used many
//! times.
//!
//! Models are directories in Hugging Face layout, GGUF files, or names on the hub (`org/name`, `org/name@revision` or
//! `org/name:Q4_K_M`). A trained value is such a directory with a card, `ivl.json`, that says how it is attached.
//!
//! # Open a model and generate
//!
//! ```
//! # std::env::set_current_dir("../..")?;
//! let lm = ivl::Model::open("examples/first-value/large")?;
//! let answer = lm.generate("Suna lives in", &ivl::GenerateConfig::default())?;
//! println!("{} ({:?}, {} tokens)", answer.text, answer.finish_reason, answer.ids.len());
//! # assert!(!answer.ids.is_empty());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`Model::stream`] gives the same text token by token, [`Model::generate_chat`] answers messages, and [`GenerateConfig`] holds
//! length, sampling and stop strings. [`OpenOptions`] chooses devices and type of the weights; on several devices the layers of a
//! model are placed by memory, or as [`ModelDevices`] say.
//!
//! # Train a value
//!
//! ```
//! # std::env::set_current_dir("../..")?;
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("train.toml");
//! # let toml = format!(
//! #     "output = {:?}
//! #     base = 'examples/first-value/small'
//! #     [value]
//! #     [data]
//! #     train = ['examples/first-value/train.jsonl']
//! #     [steps]
//! #     max_steps = 2",
//! #     dir.path().join("value")
//! # );
//! # std::fs::write(&path, toml)?;
//! # #[cfg(any())]
//! let path = "train.toml";
//! let config = ivl::TrainConfig::from_file(path)?;
//! let value = ivl::train(&config, |event| {
//!     if let ivl::TrainEvent::Run(ivl::train::Event::Step(step)) = event {
//!         println!("step {}: loss {:.3}", step.step, step.loss);
//!     }
//! })?;
//! println!("wrote {}", value.output.display());
//! # assert!(value.card.is_some());
//! # assert!(value.output.join("ivl.json").is_file());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The configuration names the base, the demonstrations and the steps; `docs/training.md` lists every key.
//! [`Training`] resumes a run, stops it from outside, and chooses devices.
//!
//! # Attach a value, and compare
//!
//! ```
//! # std::env::set_current_dir("../..")?;
//! let mut lm = ivl::Model::open("examples/first-value/large")?;
//! let base = lm.score("Mira is a pilot.")?;
//! lm.attach_with("examples/first-value/small", ivl::Attach::new().alpha(0.5).name("small"))?;
//! let with_value = lm.score("Mira is a pilot.")?;
//! println!("{:.3} nats without the value, {:.3} with it", base.sum(), with_value.sum());
//! lm.set_alpha("small", 0.0)?;
//! assert_eq!(lm.score("Mira is a pilot.")?.logprobs, base.logprobs);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`Model::attach`] does as the value's card says: residual values, cascade values and low-rank adapters are recognised. A
//! value of another vocabulary needs [`Attach::map`] or [`Attach::byte_fusion`]; [`Attach::adapter_difference`] takes the adapters of a
//! fine-tuned model in place of a value. [`Model::set_gate`] consults the values
//! only where the base is unsure; [`GateFit`] fits a gate that weights the value at each position, and writes it to the value's card.
//!
//! # Explain what a value changes
//!
//! ```
//! # std::env::set_current_dir("../..")?;
//! let mut lm = ivl::Model::open("examples/first-value/large")?;
//! lm.attach("examples/first-value/small")?;
//! for token in lm.explain("Mira is a pilot.")?.iter().flatten() {
//!     println!("log p {:.3}, changed by {:+.3}", token.logprob, token.change.delta);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Serve the OpenAI API
//!
//! ```
//! # std::env::set_current_dir("../..")?;
//! let mut lm = ivl::Model::open("examples/first-value/large")?;
//! lm.attach_with("examples/first-value/small", ivl::Attach::new().name("small"))?;
//! let mut settings = ivl::serve::Settings::default();
//! settings.port = 0; // any free port
//! let server = lm.into_server(ivl::ServeOptions::new().settings(settings))?;
//! println!("listening on http://{}", server.address());
//! # if false {
//! server.run_until_signalled()?;
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Where to go next
//!
//! - [`transfer`]: how far a value travels, on several bases at several weights.
//! - [`Evaluation`]: tasks with figures as lm-evaluation-harness computes them.
//! - [`align_models`]: maps between vocabularies.
//! - [`inspect`], [`bench`](mod@bench) and [`parity`]: what a model is, how fast it runs, and whether a device computes what
//!   the CPU computes.
//! - The crates that this one puts together: [`core`] (fusion, decoding and scoring on tensors; write a model of your own
//!   against its traits), [`models`] (checkpoints, tokenizers, chat templates), [`train`](mod@train) (the training loop),
//!   [`serve`] (the server), [`eval`] (tasks and statistics), [`align`] (vocabularies).
//!
//! Errors are [`Error`], with causes as sources. Nothing is printed. The CPU backend is the default feature `flex`; `cuda` and
//! `wgpu` are features as well.

mod alignment;
mod answers;
pub mod bench;
mod conversion;
mod corpus;
mod device;
mod digest;
mod error;
mod evaluation;
mod gate_fit;
mod hub;
mod inspection;
mod kv_cache;
mod masked_text;
mod memory;
mod model;
mod open_checkpoint;
mod open_options;
pub mod parity;
mod placement;
mod serving;
mod training;
pub mod transfer;
mod vocab_maps;

#[doc(no_inline)]
pub use ivl_align as align;
#[doc(no_inline)]
pub use ivl_core as core;
#[doc(no_inline)]
pub use ivl_eval as eval;
#[doc(no_inline)]
pub use ivl_models as models;
#[doc(no_inline)]
pub use ivl_serve as serve;
#[doc(no_inline)]
pub use ivl_train as train;

pub use ivl_core::decode::{FinishReason, GenerateConfig, SamplingConfig};
pub use ivl_core::fusion::{Gate, LearnedGate};
pub use ivl_core::score::{Score, TokenExplanation};
pub use ivl_models::{ChatTemplate, Message, ValueCard, Weights};
pub use ivl_train::TrainConfig;

pub use self::alignment::{AlignEvent, CorpusSeconds, ModelAlignment, align_models};
pub use self::answers::{AnswerSampling, AnswersDone};
pub use self::conversion::{ModelFormat, convert};
pub use self::device::{Dtype, Placement};
pub use self::error::Error;
pub use self::evaluation::{EvalEvent, Evaluation};
pub use self::gate_fit::{FittedGate, GateFit, GateFitProgress, remove_gate};
pub use self::hub::{is_hub_name, resolve};
pub use self::inspection::{inspect, readable_token};
pub use self::kv_cache::KvCacheDtype;
pub use self::masked_text::{Explanation, MaskedText};
pub use self::memory::Memory;
pub use self::model::builder::{ModelBuilder, PreparedModel};
pub use self::model::draft_options::{DraftOptions, DraftSource};
pub use self::model::generation::Generation;
pub use self::model::{Attach, AttachedValue, Model, TextReader};
pub use self::open_options::{LoadProgress, OpenOptions};
pub use self::placement::{ModelDevices, ModelPlacement, PlacedLayers, PlacedModel};
pub use self::serving::{ServeOptions, served_name};
pub use self::training::{
    DataExport, DataPreview, DataStatistics, ExportedLogits, ExportedValue, PreviewedExample, TrainEvent,
    TrainedValue, Training, TrainingModels, is_result_of, train,
};
pub use self::vocab_maps::alignment_method;

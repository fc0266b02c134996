//! Demonstrations and a frozen base in, a value network out.
//!
//! The value `v` is trained so that, added to the logits `b` of the frozen base, it explains the demonstrations:
//!
//! ```text
//! L = 1/N * sum_i [ -log softmax(b_i + v_i)[y_i] + l1 * |v_i|_1 / |vocab| ]
//! ```
//!
//! ([`value_loss`]). The base lives on a device without autodiff and is no part of the module that burn-train optimizes:
//! no gradient can reach it. [`train`] runs the steps, [`Plan`] fixes their order, [`Encoder`] makes examples of
//! demonstrations, and a [`ValueCard`] records what came out.
//!
//! # Example: what one position costs, and which way the value is pulled
//!
//! ```
//! use burn::tensor::{Device, Int, Tensor};
//! use ivl_train::{RegularizationConfig, value_loss};
//!
//! let device = Device::flex();
//! // The base finds the second token as probable as the first; the demonstration says the second.
//! let base = Tensor::<2>::zeros([1, 2], &device);
//! let value = Tensor::<2>::zeros([1, 2], &device);
//! let target = Tensor::<1, Int>::from_ints([1], &device);
//! let no_penalty = RegularizationConfig { l1: 0.0, ..Default::default() };
//! let loss = value_loss(Some(base), value, target, &no_penalty, 1.0);
//! assert!((loss.terms.cross_entropy.into_scalar::<f32>() - 2f32.ln()).abs() < 1e-6);
//! let gradient: Vec<f32> = loss.gradient.into_data().try_into_vec().expect("f32");
//! assert_eq!(gradient, [0.5, -0.5]);
//! ```
//!
//! A whole run from code is `crates/ivl-cli/examples/train_value.rs`.

mod bases;
mod batch;
mod card;
mod checkpointing;
mod clip;
mod completeness;
mod config;
mod connection;
mod data;
mod data_config;
mod early_stopping;
mod error;
mod evaluate;
mod example;
mod examples;
mod learner;
mod logit_cache;
mod loss;
mod mixing;
mod optimizer;
mod pack;
mod parallel;
mod perturbation;
mod plan;
mod precision;
mod report;
mod rewriting;
mod run_state;
mod schedule;
mod seen;
mod silent;
mod tensorboard;
mod token_file;
mod trainer;
mod unknown_key;

pub use bases::{BaseLogits, FrozenBase, Split};
pub use batch::Batch;
pub use burn::train::Interrupter;
pub use card::{BaseCard, CARD, EvalCard, FORMAT, TransferBase, TransferCard, ValueCard};
pub use checkpointing::{CheckpointDir, Part, Restored, WhenAsked};
pub use clip::clip_gradient_norm;
pub use config::{
    BaseConfig, BaseLogitsConfig, CheckpointConfig, EvalConfig, Init, MixingConfig, OptimizerConfig,
    RegularizationConfig, ResultKind, ScheduleKind, StepsConfig, TrainConfig, ValueConfig,
};
pub use connection::Connection;
pub use data::{Conversation, Dataset, Demonstration, Place, Row, Source};
pub use data_config::{Batching, DataConfig, Field, Format, SourceConfig};
pub use early_stopping::Watch;
pub use error::Error;
pub use example::{Encoder, Example};
pub use examples::{Examples, Shape, SourceReport};
pub use learner::{Against, LearnerSettings, PassOutput, ValueLearner};
pub use logit_cache::{CacheSettings, LogitCache, LogitCacheHeader};
pub use loss::{Loss, Terms, mapped_loss, value_loss};
pub use mixing::{Mixing, MixingStrategy};
pub use optimizer::optimizer;
pub use pack::best_fit_decreasing;
pub use parallel::{Gathered, LoadBases, Worker, Workers};
pub use perturbation::Perturbation;
pub use plan::{Filling, Plan};
pub use precision::Precision;
pub use report::{Best, EvalReport, Event, StepReport};
pub use rewriting::{OtherTokens, Rewritten};
pub use run_state::RunState;
pub use schedule::Schedule;
pub use seen::Seen;
pub use tensorboard::EventFile;
pub use trainer::{Run, Trained, train};

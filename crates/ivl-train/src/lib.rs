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
//! demonstrations, and a [`ValueCard`](ivl_models::ValueCard) records what came out.
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
//! let loss = value_loss(Some(base), value, target, &RegularizationConfig::default(), 1.0);
//! assert!((loss.terms.cross_entropy.into_scalar::<f32>() - 2f32.ln()).abs() < 1e-6);
//! let gradient: Vec<f32> = loss.gradient.into_data().try_into_vec().expect("f32");
//! assert_eq!(gradient, [0.5, -0.5]);
//! ```
//!
//! A whole run from code is `crates/ivl-cli/examples/train_value.rs`.

mod bases;
mod config;
mod data;
mod error;
mod objective;
mod run;
mod step;

pub use bases::{
    BaseLogits, BatchRetokenizer, CacheSettings, CachedLogits, FrozenBase, LogitCache, LogitCacheHeader,
    RetokenizedBatch, Split, Teacher,
};
pub use burn::train::Interrupter;
pub use config::{
    BaseConfig, BaseLogitsConfig, Batching, CheckpointConfig, DataConfig, DistillConfig, DpoConfig,
    EvalConfig, Field, Format, Init, MixingConfig, MixingStrategy, ObjectiveKind, OnError, OptimizerConfig,
    Precision, PreferenceLoss, Preset, RegularizationConfig, ResultKind, ScheduleKind, SourceConfig,
    StepsConfig, TeacherValueConfig, TrainConfig, ValueConfig,
};
pub use data::{
    Batch, Conversation, Dataset, Demonstration, Encoder, EpochOrder, Example, ExampleShard, Examples,
    Filling, Place, Plan, Prompt, Row, Shape, Source, SourceReport, best_fit_decreasing,
};
pub use error::Error;
pub use objective::{
    AnswerLogprobs, Criterion, Loss, PairLoss, PairSums, Targets, TeacherPredictions, TeacherTarget, Terms,
    TopTokens, mapped_loss, value_loss,
};
pub use run::{Best, EvalReport, Event, EventFile, Run, RunIdentity, StepReport, Trained, train};
pub use step::{
    BaseTarget, LearnerSettings, LoadBases, MicroBatchGradients, MicroBatchLosses, StepGradients, StepSums,
    ValueLearner, Worker, Workers, clip_gradient_norm, optimizer,
};

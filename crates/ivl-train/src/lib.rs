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
mod pack;
mod parallel;
mod perturbation;
mod plan;
mod precision;
mod report;
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
pub use card::{BaseCard, CARD, EvalCard, FORMAT, ValueCard};
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
pub use learner::{Against, LearnerSettings, PassOutput, ValueLearner, optimizer};
pub use logit_cache::{CacheSettings, LogitCache, LogitCacheHeader};
pub use loss::{Loss, Terms, value_loss};
pub use mixing::{Mixing, MixingStrategy};
pub use pack::best_fit_decreasing;
pub use parallel::{Gathered, LoadBases, Worker, Workers};
pub use perturbation::Perturbation;
pub use plan::{Filling, Plan};
pub use precision::Precision;
pub use report::{Best, EvalReport, Event, StepReport};
pub use run_state::RunState;
pub use schedule::Schedule;
pub use seen::Seen;
pub use tensorboard::EventFile;
pub use trainer::{Run, Trained, train};

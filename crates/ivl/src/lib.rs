//! Inverse value learning: train a small *value* once, and attach it to other language models.

#![doc = "TODO"]

mod alignment;
pub mod bench;
mod corpus;
mod device;
mod digest;
mod error;
mod evaluation;
mod explanation;
mod hub;
mod inspection;
mod memory;
mod model;
mod open_checkpoint;
mod open_options;
pub mod parity;
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
pub use ivl_core::fusion::Gate;
pub use ivl_core::score::{Score, TokenExplanation};
pub use ivl_models::{ChatTemplate, Message, ValueCard, Weights};
pub use ivl_train::TrainConfig;

pub use self::alignment::{AlignEvent, CorpusSeconds, ModelAlignment, align_models};
pub use self::device::{Dtype, Placement};
pub use self::error::Error;
pub use self::evaluation::{EvalEvent, Evaluation};
pub use self::explanation::{ExplainTarget, Explanation};
pub use self::hub::resolve;
pub use self::inspection::{inspect, readable_token};
pub use self::memory::Memory;
pub use self::model::draft::{DraftOptions, DraftSource};
pub use self::model::generation::Generation;
pub use self::model::{Attach, AttachedValue, Model, ModelBuilder};
pub use self::open_options::{LoadProgress, OpenOptions};
pub use self::serving::{ServeOptions, served_name};
pub use self::training::{
    DataPreview, DataStatistics, PreviewedExample, TrainEvent, TrainedValue, Training, TrainingModels,
    is_result_of, train,
};
pub use self::vocab_maps::alignment_method;

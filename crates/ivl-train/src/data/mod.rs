//! Demonstrations: from files of any kind to batches of tokens with a loss mask.

pub(crate) mod batch;
mod csv;
mod data_file;
pub(crate) mod dataset;
pub(crate) mod demonstration;
pub(crate) mod encoder;
pub(crate) mod example;
pub(crate) mod examples;
mod export;
mod json_array;
mod jsonl;
pub(crate) mod pack;
mod parquet;
pub(crate) mod place;
pub(crate) mod plan;
mod preference;
mod recognition;
mod record;
mod row_fields;
mod row_reader;
pub(crate) mod source_report;
pub(crate) mod token_file;

pub use self::batch::Batch;
pub use self::dataset::{Dataset, Row, Source};
pub use self::demonstration::{Conversation, Demonstration, Prompt};
pub use self::encoder::Encoder;
pub use self::example::{Example, Shape};
pub use self::examples::Examples;
pub use self::export::{EpochOrder, ExampleShard};
pub use self::pack::best_fit_decreasing;
pub use self::place::Place;
pub use self::plan::{Filling, Plan};
pub use self::source_report::SourceReport;

//! An OpenAI-compatible server for a base with any number of values, and a chat page.
//!
//! Every request chooses values and their weights; texts of different lengths, values and weights are written in the same
//! steps. axum answers HTTP on tokio; one thread owns the models and receives jobs through a channel (`engine`). A request
//! is checked against the limits of [`Settings`] before it becomes a job (`request`).
//!
//! Most programs start a server with `ivl::serve`, which opens models by directory and reads the card of each value:
//! connection, alpha, vocabulary. Use this crate for models that are composed by hand.
//!
//! # Example: serve a base with a residual value
//!
//! ```no_run
//! use burn::tensor::{DType, Device};
//! use ivl_core::{CausalLm, FusedLm, Value};
//! use ivl_models::{ChatTemplate, Checkpoint, ValueCard};
//! use ivl_serve::{Catalog, ServedBase, ServedValue, Server, Settings};
//!
//! let device = Device::default();
//! let base = Checkpoint::open("models/large".as_ref())?;
//! let value = Checkpoint::open("runs/value".as_ref())?;
//! let (base_lm, tokenizer) = base.load_lm(&device, DType::F32)?;
//! let (value_lm, _) = value.load_lm(&device, DType::F32)?;
//! // The card says how much of the value to add.
//! let alpha = ValueCard::read("runs/value".as_ref())?.map_or(1.0, |card| card.alpha);
//! let lm = FusedLm::new(Box::new(base_lm), vec![Value::new(Box::new(value_lm), alpha)])?;
//!
//! let served_base = ServedBase {
//!     id: "large".to_owned(),
//!     template: ChatTemplate::from_dir("models/large".as_ref())?,
//!     // Those of generation_config.json, where it names any.
//!     end_tokens: base.end_tokens(&tokenizer)?,
//!     sampling: base.sampling_defaults(),
//!     tokenizer,
//! };
//! let served_value = ServedValue {
//!     id: "value".to_owned(),
//!     alpha,
//!     template: ChatTemplate::from_dir("runs/value".as_ref())?,
//!     cross_tokenizer: None,
//! };
//! let catalog = Catalog::new(served_base, vec![served_value], lm.vocab(), lm.max_positions())?;
//! Server::bind(lm, None, catalog, Settings::default())?.run_until_signalled()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod answer;
mod api_error;
mod app;
mod catalog;
mod constraint;
mod engine;
mod error;
mod json_response;
mod keys;
mod listener;
mod metrics;
mod request;
mod routes;
mod security;
mod server;
mod settings;
mod tools;

pub use answer::explained_json;
pub use catalog::{Catalog, CrossTokenizer, ServedBase, ServedValue};
pub use error::Error;
pub use ipnet::IpNet;
#[doc(hidden)]
pub use request::fuzz_request;
pub use server::Server;
pub use settings::Settings;

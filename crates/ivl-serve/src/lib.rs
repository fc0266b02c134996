//! An OpenAI-compatible server for a base with any number of values, and a chat page.
//!
//! Every request chooses values and their weights; texts of different lengths, values and weights are written in the same
//! steps. HTTP is answered by axum on tokio; one thread owns the models and is spoken to through channels
//! ([`Engine`]). What a request may ask for is checked before the engine hears of it ([`Request`]), within the limits of
//! [`Settings`].
//!
//! # Example: serve a base with a value
//!
//! ```no_run
//! use burn::tensor::{DType, Device};
//! use ivl_core::{CausalLm, FusedLm, Value};
//! use ivl_models::{ChatTemplate, Checkpoint};
//! use ivl_serve::{Catalog, ServedValue, Server, Settings};
//!
//! let device = Device::default();
//! let load = |dir: &str| Checkpoint::open(dir.as_ref())?.load_lm(&device, DType::F32);
//! let (base, tokenizer) = load("models/large")?;
//! let (value, _) = load("runs/value")?;
//! let lm = FusedLm::new(Box::new(base), vec![Value::new(Box::new(value), 1.0)])?;
//! let template = ChatTemplate::from_dir("models/large".as_ref())?;
//! let values = vec![ServedValue { id: "value".into(), alpha: 1.0, template: None, own_tokens: None }];
//! let end_tokens = tokenizer.eos_id().into_iter().collect();
//! let (vocab, context) = (lm.vocab().clone(), lm.max_positions());
//! let catalog = Catalog::new("large".into(), template, values, tokenizer, end_tokens, &vocab, context)?;
//! Server::bind(lm, None, catalog, Settings::default())?.run_until_signalled()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod answer;
mod api_error;
mod catalog;
mod engine;
mod error;
mod listener;
mod metrics;
mod request;
mod routes;
mod security;
mod server;
mod settings;

pub use answer::explained_json;
pub use api_error::ApiError;
pub use catalog::{Catalog, OwnTokens, ServedValue};
pub use engine::{Client, Details, Engine, Failure, Job, Piece, Scored, Ticket};
pub use error::Error;
pub use metrics::Metrics;
pub use request::{Common, Fields, Prompt, Request};
pub use security::Keys;
pub use server::Server;
pub use settings::Settings;

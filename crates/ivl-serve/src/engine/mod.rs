//! The engine: one thread that owns the models and steps through all texts at once. It knows nothing of HTTP.

mod client;
mod error;
mod event;
mod handle;
mod job;
mod permit;
mod prefill;
mod prefix_cache;
mod queue;
mod radix_tree;
mod row;
mod scheduler;

pub(crate) use client::Client;
pub(crate) use error::EngineError;
pub(crate) use event::{EngineEvent, OutputOptions, Scored};
pub(crate) use handle::Engine;
pub(crate) use job::Job;
pub(crate) use permit::{QueueLimits, QueuePermit, QueuePlaces};
pub(crate) use scheduler::Models;

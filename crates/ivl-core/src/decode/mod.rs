//! From logits to text: sampling, generation, sessions, speculative decoding.

mod config;
mod constraint;
mod continuation;
mod generate;
mod sampling;
mod session;
mod speculative;
mod text_stream;
mod token;

pub use crate::distribution::log_normalizer;
pub use config::{EndTokens, GenerateConfig};
pub use constraint::TokenConstraint;
pub use continuation::Continuation;
pub use generate::{TokenStream, generate};
pub use sampling::{Choice, Sampler, SamplingConfig};
pub use session::{Session, SessionGeneration};
pub use speculative::{
    Draft, DraftBlock, Pace, Speculation, SpeculationTotals, SpeculativeGeneration, SpeculativeRound,
    speculate,
};
pub use text_stream::TextStream;
pub use token::{FinishReason, GeneratedToken};

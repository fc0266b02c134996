//! From logits to text: sampling, generation, sessions, speculative decoding.

pub(crate) mod continuation;
pub(crate) mod generate;
pub(crate) mod sampling;
mod session;
pub(crate) mod speculative;
mod text_stream;

pub use continuation::Continuation;
pub use generate::{FinishReason, GenerateConfig, GeneratedToken, TokenStream, generate};
pub use sampling::{Choice, Sampler, SamplingConfig, log_normalizer};
pub use session::{Session, SessionGeneration};
pub use speculative::{
    Draft, DraftBlock, Pace, Speculation, SpeculationTotals, SpeculativeGeneration, SpeculativeRound,
    speculate,
};
pub use text_stream::TextStream;

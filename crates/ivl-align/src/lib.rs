//! Two vocabularies in, a [`VocabMap`](ivl_core::VocabMap) out.
//!
//! A value has logits for its own ids. To add it to a base of another family, every base id needs the value id
//! of the same piece of text. Vocabularies are compared as bytes: how a tokenizer writes a space is
//! already undone in [`Vocab`](ivl_core::Vocab).
//!
//! # MatchExample: align two vocabularies
//!
//! ```
//! use ivl_align::{Method, align};
//! use ivl_core::{Vocab, vocab::Token};
//!
//! let tokens = |tokens: &[&str]| Vocab::new(tokens.iter().map(|t| Some(Token::text(t.as_bytes()))).collect());
//! let base = tokens(&[" the", "a", " theme", "zebra"]);
//! let value = tokens(&["a", " the"]);
//! let alignment = align(&base, &value, Method::Hybrid, None, &|_| ())?;
//! assert_eq!(alignment.map.value_ids(), [Some(1), Some(0), Some(1), None]);
//! assert_eq!(alignment.coverage.tokens.exact, 2);
//! # Ok::<(), ivl_align::Error>(())
//! ```

mod align;
mod co_occurrence;
mod controls;
mod counts;
mod coverage;
mod dtw;
mod edit_distance;
mod error;
mod exact;
mod map_file;
mod method;
mod prefix;

pub use align::{Alignment, align};
pub use counts::{CooccurrenceCounter, CooccurrenceCounts, Pairing, TextPair};
pub use coverage::{Coverage, Match, MatchCounts, MatchExample};
pub use error::Error;
pub use map_file::MapFile;
pub use method::Method;

//! Values whose tokenizer is not the base's: they read every text in their own tokens.

pub(crate) mod byte_events;
pub(crate) mod byte_fused_lm;
pub(crate) mod byte_trie;
mod positions;
pub(crate) mod retokenized_value;
pub(crate) mod retokenizer;
pub(crate) mod text_cache;

pub use byte_fused_lm::{ByteFusedLm, ByteFusionConfig};
pub use byte_trie::ByteTrie;
pub use positions::match_positions;
pub use retokenizer::{Retokenizer, TokenEnd};
pub use text_cache::TextCache;

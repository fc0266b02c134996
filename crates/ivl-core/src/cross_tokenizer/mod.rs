//! Values whose tokenizer is not the base's: they read every text in their own tokens.

mod byte_events;
mod byte_fused_lm;
mod byte_trie;
mod positions;
mod reader;
mod retokenized_value;
mod retokenizer;

pub use byte_fused_lm::{ByteFusedLm, ByteFusion, ByteFusionConfig};
pub use byte_trie::ByteTrie;
pub use positions::match_positions;
pub use retokenized_value::RetokenizedValue;
pub use retokenizer::{Retokenizer, TokenEnd};

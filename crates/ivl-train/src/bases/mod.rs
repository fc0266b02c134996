//! The frozen models of a run, and where their logits come from.

pub(crate) mod cross_tokenizer;
pub(crate) mod frozen_base;
pub(crate) mod lm_logits;
pub(crate) mod logit_cache;
pub(crate) mod teacher;

pub use self::cross_tokenizer::{BatchRetokenizer, RetokenizedBatch};
pub use self::frozen_base::{BaseLogits, CachedLogits, FrozenBase, Split};
pub use self::logit_cache::{CacheSettings, LogitCache, LogitCacheHeader};
pub use self::teacher::Teacher;

//! The decoder of tokenizers whose tokens mark spaces, as SentencePiece does.

use serde_json::{Value, json};

/// A decoder of a `tokenizer.json` that makes marks spaces, bytes that have tokens of their own letters, and leaves out the space that
/// was added before a text.
pub(super) fn decoder(adds_space: bool) -> Value {
    let mut decoders = vec![
        json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    if adds_space {
        decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    json!({"type": "Sequence", "decoders": decoders})
}

//! One configuration-driven transformer for Hugging Face checkpoints.

//! Errors of the engine as clients read them.

use crate::api_error::ApiError;
use crate::engine::EngineError;

impl From<EngineError> for ApiError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Busy => Self::busy(),
            EngineError::TooLarge { texts, length, needed, available } => {
                let message = format!(
                    "{texts} texts of {length} tokens need {needed} bytes of cache, more than the {available} of this \
                     server; lower `max_tokens` or `n`"
                );
                Self::invalid("max_tokens", message)
            }
            EngineError::Stopped => Self::stopping(),
            EngineError::NoToken => Self::no_token(),
            EngineError::Internal => Self::internal(),
        }
    }
}

//! Errors of the engine as clients read them.

use crate::api_error::ApiError;
use crate::engine::EngineError;

impl From<EngineError> for ApiError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Busy => Self::busy("too many requests are waiting; try again in a moment"),
            EngineError::ClientBusy { limit } => Self::busy(format!(
                "{limit} texts of this client are waiting or being written, as many as one client may have; try again when \
                 some have ended"
            )),
            EngineError::LargerThanQueue { texts, limit } => Self::invalid(
                "n",
                format!("the request has {texts} texts, but a client can have at most {limit} in the queue"),
            ),
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

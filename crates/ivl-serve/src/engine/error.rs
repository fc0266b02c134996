//! Why the engine refuses a job or ends one without an answer.

/// A refusal, or the failure of a job that was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EngineError {
    /// All places of the queue are taken.
    #[error("the queue is full")]
    Busy,
    /// The client has all places that one client may have.
    #[error("the client has {limit} texts in the queue")]
    ClientBusy {
        /// Texts that one client may have in the queue.
        limit: usize,
    },
    /// More texts than a client may ever have in the queue.
    #[error("{texts} texts for a queue of {limit}")]
    LargerThanQueue {
        /// Texts of the request.
        texts: usize,
        /// Texts that one client may have in the queue.
        limit: usize,
    },
    /// The caches of the job are larger than all the memory for caches, so that it could never run.
    #[error("{texts} texts of {length} tokens need {needed} bytes of cache, of {available}")]
    TooLarge {
        /// Texts that the job writes at once.
        texts: usize,
        /// Tokens of each when it is complete.
        length: usize,
        /// Bytes of cache that they need.
        needed: usize,
        /// Bytes that there are.
        available: usize,
    },
    /// The thread that owns the models has ended.
    #[error("the engine has stopped")]
    Stopped,
    /// No token could be chosen: no logit is finite.
    #[error("no token can be chosen")]
    NoToken,
    /// A panic.
    #[error("the engine failed on the job")]
    Internal,
}

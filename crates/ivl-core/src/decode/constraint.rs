//! Limits on the tokens of a text.

use std::fmt::Debug;

/// Decides which tokens may come next: a grammar, a list of words, anything that depends on the tokens chosen so far.
///
/// A [`Sampler`](crate::decode::Sampler) asks it before every choice and reports every token, also while a draft guesses
/// ahead: there it works on a copy.
pub trait TokenConstraint: Debug + Send {
    /// Sets the logits of tokens that may not come next to minus infinity.
    fn restrict(&mut self, logits: &mut [f32]);

    /// Takes note of the token that was chosen.
    fn accept(&mut self, token: u32);

    /// Whether the text is complete: no token may follow.
    fn is_complete(&self) -> bool {
        false
    }

    /// A copy with the same state.
    fn boxed_clone(&self) -> Box<dyn TokenConstraint>;
}

impl Clone for Box<dyn TokenConstraint> {
    fn clone(&self) -> Self {
        self.boxed_clone()
    }
}

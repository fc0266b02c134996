//! What a request allows its text to be: lists of tokens, words that must not appear, a grammar.

mod grammar;
mod token_rules;

pub(crate) use grammar::{Grammar, GrammarCompiler, GrammarSource, with_few_blanks};
pub(crate) use token_rules::TokenRules;

use ivl_core::decode::TokenConstraint;

/// All that a request demands of its tokens.
#[derive(Debug, Clone, Default)]
pub(crate) struct RequestConstraint {
    pub(crate) rules: TokenRules,
    pub(crate) grammar: Option<Grammar>,
}

impl RequestConstraint {
    /// Whether every token is allowed.
    pub(crate) fn is_empty(&self) -> bool {
        self.rules.is_empty() && self.grammar.is_none()
    }
}

impl TokenConstraint for RequestConstraint {
    fn restrict(&mut self, logits: &mut [f32]) {
        if let Some(grammar) = &mut self.grammar {
            grammar.restrict(logits);
        }
        self.rules.restrict(logits);
    }

    fn accept(&mut self, token: u32) {
        if let Some(grammar) = &mut self.grammar {
            grammar.accept(token);
        }
        self.rules.accept(token);
    }

    fn is_complete(&self) -> bool {
        self.grammar.as_ref().is_some_and(Grammar::is_complete)
    }

    fn boxed_clone(&self) -> Box<dyn TokenConstraint> {
        Box::new(self.clone())
    }
}

//! Grammars that the text has to follow, by [llguidance](https://docs.rs/llguidance).

use std::fmt;
use std::sync::Arc;

use ivl_core::Vocab;
use ivl_core::vocab::TokenKind;
use llguidance::api::TopLevelGrammar;
use llguidance::toktrie::{ApproximateTokEnv, TokRxInfo, TokTrie};
use llguidance::{Matcher, ParserFactory};
use serde_json::{Value, json};

/// Blanks between the parts of a JSON text: one space, or a new line with its indentation.
const BLANKS: &str = r"\x20|\x0A\x20{0,24}";

/// What a text has to be.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum GrammarSource {
    /// JSON that a schema describes.
    JsonSchema(Value),
    /// A text that a regular expression matches from its beginning to its end.
    Regex(String),
    /// One of these texts.
    Choice(Vec<String>),
    /// A context-free grammar in the dialect of Lark that llguidance reads.
    Lark(String),
}

/// Compiles grammars for one vocabulary.
pub(crate) struct GrammarCompiler {
    factory: ParserFactory,
    /// Stands for the end of the text. No token of the model: which tokens end a text, the request says.
    end: u32,
}

impl fmt::Debug for GrammarCompiler {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("GrammarCompiler").field("end", &self.end).finish_non_exhaustive()
    }
}

impl GrammarCompiler {
    /// A compiler for the tokens of a vocabulary.
    ///
    /// # Errors
    /// What llguidance says.
    pub(crate) fn new(vocab: &Vocab) -> Result<Self, String> {
        let mut words: Vec<Vec<u8>> = vocab
            .iter()
            .map(|token| match token {
                None => Vec::new(),
                Some(token) if token.kind == TokenKind::Control => special(&token.bytes),
                Some(token) => token.bytes.to_vec(),
            })
            .collect();
        let end = words.len() as u32;
        words.push(special(b"<end of the text>"));
        let trie = TokTrie::from(&TokRxInfo::new(words.len() as u32, end), &words);
        let tokens = Arc::new(ApproximateTokEnv::new(trie));
        let mut factory = ParserFactory::new_simple(&(tokens as _)).map_err(|error| error.to_string())?;
        factory.quiet();
        factory.limits_mut().verbose_errors = false;
        Ok(Self { factory, end })
    }

    /// Compiles a grammar. `ends` are the tokens that end a text: they are allowed where the grammar may end.
    ///
    /// # Errors
    /// Why it is not one.
    pub(crate) fn compile(&self, source: &GrammarSource, ends: &[u32]) -> Result<Grammar, String> {
        let grammar = match source {
            GrammarSource::JsonSchema(schema) => TopLevelGrammar::from_json_schema(with_few_blanks(schema)),
            GrammarSource::Regex(regex) => TopLevelGrammar::from_regex(regex),
            GrammarSource::Choice(choices) => {
                let literals: Vec<String> =
                    choices.iter().map(|choice| Value::from(choice.as_str()).to_string()).collect();
                TopLevelGrammar::from_lark(format!("start: {}", literals.join(" | ")))
            }
            GrammarSource::Lark(grammar) => TopLevelGrammar::from_lark(grammar.clone()),
        };
        let matcher = Matcher::new(self.factory.create_parser(grammar));
        match matcher.get_error() {
            Some(error) => Err(error),
            None => Ok(Grammar { matcher, ends: ends.into(), end: self.end }),
        }
    }
}

/// A schema with a bound on the blanks between parts: a model that is unsure can write blanks for ever.
pub(crate) fn with_few_blanks(schema: &Value) -> Value {
    let mut schema = match schema {
        Value::Bool(true) => json!({}),
        other => other.clone(),
    };
    if let Some(map) = schema.as_object_mut() {
        map.entry("x-guidance").or_insert_with(|| json!({"whitespace_pattern": BLANKS}));
    }
    schema
}

/// A token that is not text, as llguidance writes it.
fn special(name: &[u8]) -> Vec<u8> {
    [&[TokTrie::SPECIAL_TOKEN_MARKER], name].concat()
}

/// A grammar and the place in it that a text has reached.
#[derive(Clone)]
pub(crate) struct Grammar {
    matcher: Matcher,
    ends: Arc<[u32]>,
    end: u32,
}

impl fmt::Debug for Grammar {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Grammar").field("ends", &self.ends).finish_non_exhaustive()
    }
}

impl Grammar {
    /// Sets the logits of tokens that the grammar does not allow here to minus infinity. After an error of the parser none is
    /// left.
    pub(crate) fn restrict(&mut self, logits: &mut [f32]) {
        let Ok(mask) = self.matcher.compute_mask_or_eos() else {
            logits.fill(f32::NEG_INFINITY);
            return;
        };
        let may_end = mask.is_allowed(self.end);
        for (id, logit) in logits.iter_mut().enumerate() {
            let id = id as u32;
            if !(mask.is_allowed(id) || may_end && self.ends.contains(&id)) {
                *logit = f32::NEG_INFINITY;
            }
        }
    }

    pub(crate) fn accept(&mut self, token: u32) {
        if !self.ends.contains(&token) {
            // An error stays in the matcher, and leaves no token at the next step.
            let _ = self.matcher.consume_token(token);
        }
    }

    /// Whether nothing can follow.
    pub(crate) fn is_complete(&self) -> bool {
        self.matcher.is_stopped() && !self.matcher.is_error()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ivl_core::vocab::Token;

    /// One token for each ASCII character and some longer ones; 200 ends a text.
    fn vocab() -> Vocab {
        let mut tokens: Vec<Option<Token>> = (0..128_u8).map(|byte| Some(Token::text([byte]))).collect();
        tokens.extend(["{\"", "name\"", "true", "10", "dog"].map(|text| Some(Token::text(text.as_bytes()))));
        tokens.resize(200, None);
        tokens.push(Some(Token::control("</s>")));
        Vocab::new(tokens)
    }

    fn compile(source: &GrammarSource) -> Result<Grammar, String> {
        GrammarCompiler::new(&vocab())?.compile(source, &[200])
    }

    /// Whether a grammar lets a text through, token by token, and whether it may end there.
    fn follows(source: &GrammarSource, text: &str) -> (bool, bool) {
        let mut grammar = compile(source).expect("a grammar");
        let open = |grammar: &mut Grammar| {
            let mut logits = vec![0.0; 201];
            grammar.restrict(&mut logits);
            logits
        };
        for byte in text.bytes() {
            if open(&mut grammar)[byte as usize] != 0.0 {
                return (false, false);
            }
            grammar.accept(u32::from(byte));
        }
        let ends = grammar.is_complete() || open(&mut grammar)[200] == 0.0;
        (true, ends)
    }

    #[test]
    fn a_schema_lets_through_what_it_describes() {
        let schema = json!({
            "type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
            "required": ["name", "age"], "additionalProperties": false,
        });
        let schema = GrammarSource::JsonSchema(schema);
        assert_eq!(follows(&schema, "{\"name\": \"a\", \"age\": 10}"), (true, true));
        assert_eq!(follows(&schema, "{\"name\": \"a\""), (true, false));
        assert!(!follows(&schema, "{\"name\": 10").0);
        assert!(!follows(&schema, "{\"nome").0);
        assert_eq!(follows(&schema, "{\n  \"name\": \"a\",\n  \"age\": 10\n}"), (true, true));
        assert!(!follows(&schema, "{  \"name").0, "a model could write blanks for ever");
        let any = GrammarSource::JsonSchema(json!({"type": "object"}));
        assert_eq!(follows(&any, "{\"x\": [true, null]}"), (true, true));
        assert!(!follows(&any, "[1]").0);
    }

    #[test]
    fn expressions_choices_and_grammars_as_well() {
        let regex = GrammarSource::Regex("a+b".to_owned());
        assert_eq!([follows(&regex, "aab"), follows(&regex, "aa")], [(true, true), (true, false)]);
        assert!(!follows(&regex, "b").0);
        let choice = GrammarSource::Choice(vec!["dog".to_owned(), "do \"it\"".to_owned()]);
        assert_eq!([follows(&choice, "dog"), follows(&choice, "do \"it\"")], [(true, true), (true, true)]);
        assert!(!follows(&choice, "cat").0);
        let lark = GrammarSource::Lark("start: \"x\" inner \"y\"\ninner: \"1\" | \"2\" inner".to_owned());
        assert_eq!(follows(&lark, "x221y"), (true, true));
    }

    #[test]
    fn longer_tokens_are_allowed_where_they_fit() {
        let mut grammar = compile(&GrammarSource::Choice(vec!["dog".to_owned()])).expect("a grammar");
        let mut logits = vec![0.0; 201];
        grammar.restrict(&mut logits);
        let open: Vec<usize> = (0..201).filter(|&id| logits[id] == 0.0).collect();
        assert_eq!(open, [usize::from(b'd'), 132]);
        grammar.accept(132);
        assert!(grammar.is_complete());
    }

    #[test]
    fn what_is_no_grammar_is_an_error() {
        for source in [
            GrammarSource::Regex("(".to_owned()),
            GrammarSource::Lark("start: missing".to_owned()),
            GrammarSource::JsonSchema(json!({"type": "nothing"})),
        ] {
            assert!(!compile(&source).expect_err("no grammar").is_empty(), "{source:?}");
        }
    }
}

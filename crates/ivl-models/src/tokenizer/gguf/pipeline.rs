//! From the tokenizer of a GGUF file to one of the `tokenizers` library.

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokenizers::AddedToken;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::models::unigram::Unigram;
use tokenizers::normalizers::Precompiled;

use super::charsmap::check_charsmap;
use super::error::GgufTokenizerError;
use super::merges::{Merge, merges_by_score};
use super::pre_tokenizer::PreTokenizer;
use super::token_type::TokenType;
use super::vocabulary::{GgufVocabulary, TokenModel};
use crate::tokenizer::marked_spaces;
use crate::tokenizer::padding::is_padding;
use crate::tokenizer::special_template::tokens_around;
use crate::tokenizer::stages::{ModelFlags, Stages};

type Built<T> = Result<T, GgufTokenizerError>;

impl GgufVocabulary {
    /// The tokenizer, and its stages as a `tokenizer.json` has them.
    pub(crate) fn build(&self) -> Built<(tokenizers::Tokenizer, Stages)> {
        let mut stages = self.stages()?;
        let mut inner = match self.model {
            TokenModel::Unigram => tokenizers::Tokenizer::new(self.unigram()?),
            _ => tokenizers::Tokenizer::new(self.bpe(&mut stages)?),
        };
        if !self.charsmap.is_empty() {
            check_charsmap(&self.charsmap)?;
        }
        inner
            .with_normalizer(self.normalizer(&stages)?)
            .map_err(GgufTokenizerError::Build)?
            .with_pre_tokenizer(stage::<tokenizers::PreTokenizerWrapper>(&stages.pre_tokenizer)?)
            .with_post_processor(stage::<tokenizers::PostProcessorWrapper>(&stages.post_processor)?)
            .with_decoder(stage::<tokenizers::DecoderWrapper>(&stages.decoder)?);
        inner.add_tokens(self.added_tokens()).map_err(GgufTokenizerError::Build)?;
        Ok((inner, stages))
    }

    fn stages(&self) -> Built<Stages> {
        let to_marks = json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"});
        let letters = |adds_space: bool| {
            let prepend = json!({"type": "Prepend", "prepend": "▁"});
            let prepend = adds_space.then_some(prepend);
            let normalizers: Vec<Value> = prepend.into_iter().chain([to_marks]).collect();
            let normalizer = json!({"type": "Sequence", "normalizers": normalizers});
            (normalizer, Value::Null, marked_spaces::decoder(adds_space))
        };
        let (normalizer, pre_tokenizer, decoder) = match self.model {
            TokenModel::SentencePiece => letters(self.adds_space),
            TokenModel::Gemma4 => letters(false),
            TokenModel::ByteLevel => {
                let pre = self.pre_tokenizer()?;
                let bytes = json!({
                    "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true
                });
                (pre.normalizer(), pre.pre_tokenizer(), bytes)
            }
            TokenModel::Unigram => self.unigram_stages(),
        };
        let model = ModelFlags { byte_fallback: Some(self.has_byte_tokens()) };
        Ok(Stages { normalizer, pre_tokenizer, post_processor: self.post_processor(), decoder, model })
    }

    fn pre_tokenizer(&self) -> Built<&'static PreTokenizer> {
        self.pre.as_deref().and_then(PreTokenizer::of).ok_or_else(|| GgufTokenizerError::PreTokenizer {
            got: self.pre.as_ref().map_or("absent".to_owned(), |name| format!("`{name}`")),
            known: PreTokenizer::all_names().join(", "),
        })
    }

    /// Of the table of normalization only that there is one: it has no JSON here.
    fn unigram_stages(&self) -> (Value, Value, Value) {
        let scheme = if self.adds_space { "always" } else { "never" };
        let metaspace =
            json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": true});
        let mut cuts = vec![metaspace.clone()];
        if self.removes_blanks {
            cuts.insert(0, json!({"type": "WhitespaceSplit"}));
        }
        let table = if self.charsmap.is_empty() { Value::Null } else { json!({"type": "Precompiled"}) };
        (table, json!({"type": "Sequence", "pretokenizers": cuts}), metaspace)
    }

    fn normalizer(&self, stages: &Stages) -> Built<Option<tokenizers::NormalizerWrapper>> {
        if self.charsmap.is_empty() {
            return stage(&stages.normalizer);
        }
        let table = Precompiled::from(&self.charsmap)
            .map_err(|_| GgufTokenizerError::Charsmap { reason: "its texts are not UTF-8" })?;
        Ok(Some(table.into()))
    }

    /// The tokens around a text.
    fn post_processor(&self) -> Value {
        let name = |adds: bool, id: Option<u32>| Some((self.token(id.filter(|_| adds)?)?.to_owned(), id?));
        tokens_around(name(self.adds_bos, self.ids.bos), name(self.adds_eos, self.ids.eos), [0, 0])
    }

    fn has_byte_tokens(&self) -> bool {
        let is_byte = |token: &String| token.len() == 6 && token.starts_with("<0x") && token.ends_with('>');
        self.model.marks_spaces() && self.tokens.iter().any(is_byte)
    }

    fn bpe(&self, stages: &mut Stages) -> Built<BPE> {
        let names = self.merged_names();
        let vocab: Vocab = names
            .iter()
            .zip(0u32..)
            .filter(|(name, _)| !is_padding(name))
            .map(|(name, id)| (name.clone(), id))
            .collect();
        let merges = if self.derives_merges() { self.derived_merges(&names) } else { self.merges.clone() };
        let byte_fallback = stages.model.byte_fallback == Some(true);
        let mut builder = BPE::builder()
            .vocab_and_merges(vocab, merges)
            .byte_fallback(byte_fallback)
            .fuse_unk(self.model.marks_spaces())
            .ignore_merges(self.model == TokenModel::ByteLevel && self.pre_tokenizer()?.ignore_merges);
        if let Some(unknown) = self.ids.unknown.filter(|_| self.model.marks_spaces())
            && let Some(token) = self.token(unknown)
        {
            builder = builder.unk_token(token.to_owned());
        }
        builder.build().map_err(GgufTokenizerError::Build)
    }

    /// Names under which merges know the tokens.
    fn merged_names(&self) -> Vec<String> {
        let marked = |token: &String| match self.is_gemma() && is_run_of_spaces(token) {
            true => "▁".repeat(token.len()),
            false => token.clone(),
        };
        self.tokens.iter().map(marked).collect()
    }

    fn derived_merges(&self, names: &[String]) -> Vec<Merge> {
        if self.is_gemma() {
            let order: Vec<f32> = (0..names.len()).map(|id| -(id as f32)).collect();
            return merges_by_score(names, &order);
        }
        merges_by_score(names, &self.scores)
    }

    fn unigram(&self) -> Built<Unigram> {
        let pieces = self.tokens.iter().enumerate().map(|(id, token)| match token.is_empty() {
            true => format!("[PAD{id}]"),
            false => token.clone(),
        });
        let pieces = pieces.zip(self.scores.iter().map(|&score| f64::from(score))).collect();
        let unknown = self.ids.unknown.map(|id| id as usize);
        Unigram::from(pieces, unknown, self.has_byte_tokens()).map_err(GgufTokenizerError::Build)
    }

    /// Tokens that are found whole in a text.
    fn added_tokens(&self) -> impl Iterator<Item = AddedToken> + '_ {
        let added = self.tokens.iter().zip(&self.types).filter(|(token, _)| !is_padding(token));
        added.filter_map(|(token, kind)| {
            let special = match kind {
                TokenType::Control | TokenType::Unknown => true,
                TokenType::UserDefined if self.is_gemma() && is_run_of_spaces(token) => return None,
                TokenType::UserDefined => false,
                TokenType::Normal | TokenType::Unused | TokenType::Byte => return None,
            };
            let takes_blanks = self.is_phi3() && !["<unk>", "<s>", "<|endoftext|>"].contains(&token.as_str());
            Some(AddedToken::from(token.clone(), special).normalized(false).rstrip(takes_blanks))
        })
    }
}

/// Two spaces or more, and nothing else.
fn is_run_of_spaces(token: &str) -> bool {
    token.len() > 1 && token.bytes().all(|byte| byte == b' ')
}

/// A stage from the JSON of a `tokenizer.json`.
fn stage<T: DeserializeOwned>(json: &Value) -> Built<Option<T>> {
    if json.is_null() {
        return Ok(None);
    }
    serde_json::from_value(json.clone()).map(Some).map_err(|error| GgufTokenizerError::Build(error.into()))
}

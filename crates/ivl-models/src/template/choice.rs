//! Which chat template a base with values uses, and where its turns end.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::chat::ChatTemplate;
use super::chat_error::ChatError;
use crate::tokenizer::{SpecialTokens, Tokenizer};
use crate::{Checkpoint, Error};

/// Which chat template renders the messages for a base with values: one rule for everything that renders messages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum TemplateChoice {
    /// That of the first value that has one, since the value was trained with it; the base's if none has.
    #[default]
    Value,
    /// The base's.
    Base,
    /// That in a file, with the special tokens of the base.
    File(PathBuf),
}

impl FromStr for TemplateChoice {
    type Err = Infallible;

    /// `base`, `value`, or the name of a file.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "base" => Self::Base,
            "value" => Self::Value,
            file => Self::File(file.into()),
        })
    }
}

impl TemplateChoice {
    /// The template for a base with the values in these directories. [`ChatTemplate::path`] says where it was found.
    ///
    /// # Errors
    /// [`ChatError::NoTemplate`] if there is none, [`ChatError`] for one that cannot be read or does not compile.
    pub fn find<P: AsRef<Path>>(&self, base: &Path, values: &[P]) -> Result<ChatTemplate, ChatError> {
        let values: &[P] = match self {
            Self::File(path) => {
                return Ok(
                    ChatTemplate::from_file(path)?.with_special_tokens(&SpecialTokens::from_dir(base)?)
                );
            }
            Self::Base => &[],
            Self::Value => values,
        };
        let dirs: Vec<&Path> = values.iter().map(AsRef::as_ref).chain([base]).collect();
        for dir in &dirs {
            if let Some(template) = ChatTemplate::from_dir(dir)? {
                return Ok(template);
            }
        }
        let searched: Vec<String> = dirs.iter().map(|dir| format!("`{}`", dir.display())).collect();
        Err(ChatError::NoTemplate { searched: searched.join(" or ") })
    }
}

/// The tokens at which a generation of a base with values ends: the base's, the values', each with its tokenizer, by their text, and those with which the
/// template ends a turn of the assistant.
///
/// # Errors
/// As [`Checkpoint::end_tokens`].
pub fn fused_end_tokens(
    base: &Checkpoint,
    tokenizer: &Tokenizer,
    values: &[(&Checkpoint, &Tokenizer)],
    template: Option<&ChatTemplate>,
) -> Result<Vec<u32>, Error> {
    let mut ends: BTreeSet<u32> = base.end_tokens(tokenizer)?.into_iter().collect();
    for (value, own) in values {
        let texts = value.end_tokens(own)?.into_iter().filter_map(|id| own.id_to_token(id));
        ends.extend(texts.filter_map(|text| tokenizer.token_to_id(&text)));
    }
    ends.extend(template.map(|template| template.end_tokens(tokenizer)).unwrap_or_default());
    ends.retain(|&id| (id as usize) < base.config().vocab_size);
    Ok(ends.into_iter().collect())
}

//! What guesses tokens ahead, from `--draft`.

use anyhow::{Context, Result, bail};
use ivl_core::Vocab;
use ivl_core::decode::{Draft, Pace, Speculation};
use ivl_models::{Checkpoint, Weights};

use crate::args::{Common, Drafts, Dtype};
use crate::compose::load_lm;
use crate::device::{device, dtype};
use crate::hub::resolve;

/// The word that stands for drafts without a model. A directory of this name is `./prompt-lookup`.
const LOOKUP: &str = "prompt-lookup";

/// Tokens that prompt lookup finds again, unless told.
const NGRAM: usize = 3;

/// Loads what `--draft` names.
pub fn speculation(options: &Drafts, target: &Vocab, common: &Common) -> Result<Option<Speculation>> {
    let Some(name) = &options.draft else { return Ok(None) };
    if options.draft_tokens == 0 {
        bail!("--draft-tokens is 0, expected at least 1");
    }
    let draft = match name.strip_prefix(LOOKUP) {
        Some(rest) if rest.is_empty() || rest.starts_with(':') => {
            let ngram = match rest.strip_prefix(':') {
                None => NGRAM,
                Some(n) => n.parse().ok().filter(|&n| n > 0).with_context(|| {
                    format!("--draft is `{name}`, expected {LOOKUP} or {LOOKUP}:N with N at least 1")
                })?,
            };
            Draft::prompt_lookup(ngram)?
        }
        _ => {
            let dir = resolve(name)?;
            let asked = Common { dtype: draft_dtype(options, common), ..common.clone() };
            let (lm, _) = load_lm(&Checkpoint::open(&dir)?, &device(&asked)?, dtype(&asked), &asked)?;
            Draft::model(Box::new(lm), target, !options.draft_alone)
                .with_context(|| format!("cannot draft with `{name}`"))?
        }
    };
    Ok(Some(Speculation::new(draft, Pace::up_to(options.draft_tokens))))
}

/// How the draft's weights are kept: as short as can be, since guesses may be wrong.
fn draft_dtype(options: &Drafts, common: &Common) -> Dtype {
    match (options.draft_dtype, dtype(common)) {
        (Dtype::Auto, Weights::Packed(_)) => Dtype::Int8,
        (Dtype::Auto, Weights::Tensors(_)) => common.dtype,
        (asked, _) => asked,
    }
}

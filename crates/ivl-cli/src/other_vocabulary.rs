//! Values whose vocabulary is not the base's: which map they take, and what they read.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use burn::tensor::Device;
use ivl_align::{MapFile, Method, align};
use ivl_core::cross_tokenizer::{ByteFusedLm, ByteFusion, ByteFusionConfig, RetokenizedValue, Retokenizer};
use ivl_core::fusion::BaseLm;
use ivl_core::{CausalLm, Error, Value, Vocab, VocabMap};
use ivl_models::{Checkpoint, Tokenizer, TransformerLm, Weights};
use ivl_serve::CrossTokenizer;

use crate::args::{Common, Vocabularies};
use crate::compose::load_lm;
use crate::hub::resolve;

/// Largest map file that is read: four million ids with weights.
const LARGEST_MAP: u64 = 64 << 20;

/// A method by its name.
pub fn method(name: &str) -> Result<Method> {
    let names: Vec<&str> = Method::ALL.iter().map(|method| method.name()).collect();
    name.parse().map_err(|()| anyhow::anyhow!("no such method; expected one of {}", names.join(", ")))
}

/// A map that was asked for.
enum Source {
    File(PathBuf, Box<MapFile>),
    Method(Method),
}

/// What `--map` and `--byte-fusion` ask for.
pub struct Crossing {
    sources: Vec<Source>,
    reference: Option<PathBuf>,
    settings: ByteFusionConfig,
}

/// A value of another vocabulary that was attached: what it can read.
pub struct Reads {
    name: String,
    tokenizer: Tokenizer,
    max_positions: usize,
}

impl Crossing {
    pub fn new(options: &Vocabularies) -> Result<Self> {
        let reference = options.byte_fusion.as_deref().map(resolve).transpose()?;
        let settings = ByteFusionConfig::default().unseen(options.unseen).branches(options.branches);
        let sources = options.map.iter().map(|text| source(text)).collect::<Result<_>>()?;
        Ok(Self { sources, reference, settings })
    }

    /// The map between two vocabularies: the file that was made for them, else the method that was asked for.
    fn map(&self, base: &Vocab, value: &Vocab) -> Result<Option<VocabMap>> {
        let mut foreign = None;
        for source in &self.sources {
            match source {
                Source::Method(method) => {
                    return Ok(Some(align(base, value, *method, None, &|_| ())?.map));
                }
                Source::File(path, file) => match file.map(base, value) {
                    Ok(map) => return Ok(Some(map)),
                    Err(error) => foreign = Some((path, error)),
                },
            }
        }
        match foreign {
            Some((path, error)) => Err(error).with_context(|| format!("`{}`", path.display())),
            // Over bytes, the map pairs control tokens alone.
            None if self.reference.is_some() => {
                Ok(Some(align(base, value, Method::Exact, None, &|_| ())?.map))
            }
            None => Ok(None),
        }
    }

    /// A value of another vocabulary for a base; `refusal` is what is said if no map leads to it. Over bytes it is not added
    /// by a map: see [`over_bytes`](Self::over_bytes).
    pub fn value(
        &self,
        base: &Vocab,
        (value, tokenizer, alpha): (TransformerLm, Tokenizer, f64),
        refusal: Error,
    ) -> Result<Value> {
        let Some(map) = self.map(base, value.vocab())? else { return Err(refusal.into()) };
        let value = RetokenizedValue::new(base, Box::new(value), map, Box::new(tokenizer))?;
        Ok(Value::partial(Box::new(value), alpha))
    }

    /// Whether values of another vocabulary are fused over bytes.
    pub fn is_over_bytes(&self) -> bool {
        self.reference.is_some()
    }

    /// Fuses a value over bytes, by the base that it was trained on.
    pub fn over_bytes(
        &self,
        base: BaseLm,
        (value, tokenizer, alpha): (TransformerLm, Tokenizer, f64),
        refusal: Error,
        (device, dtype, common): (&Device, Weights, &Common),
    ) -> Result<ByteFusedLm> {
        let map = self.map(base.vocab(), value.vocab())?;
        let (Some(map), Some(reference)) = (map, &self.reference) else { return Err(refusal.into()) };
        let (reference, _) = load_lm(&Checkpoint::open(reference)?, device, dtype, common)?;
        Ok(ByteFusedLm::new(ByteFusion {
            base,
            reference: Box::new(reference),
            value: Box::new(value),
            alpha,
            map: &map,
            tokenizer: Box::new(tokenizer),
            config: self.settings,
        })?)
    }
}

impl Reads {
    pub fn new(dir: &Path, tokenizer: &Tokenizer, max_positions: usize) -> Self {
        Self { name: dir.display().to_string(), tokenizer: tokenizer.clone(), max_positions }
    }

    /// The same, as the server knows it.
    pub fn cross_tokenizer(&self) -> CrossTokenizer {
        CrossTokenizer { tokenizer: self.tokenizer.clone(), max_positions: self.max_positions }
    }

    /// Refuses a text that the value cannot read; while a text is generated, the base stands alone there.
    pub fn check(&self, text: &str) -> Result<()> {
        let got = self.tokenizer.tokenize(text).with_context(|| format!("value `{}`", self.name))?.len();
        if got > self.max_positions {
            return Err(Error::TextTooLong { got, limit: self.max_positions, what: self.name.clone() }.into());
        }
        Ok(())
    }
}

/// The map that a method or file gives between two vocabularies.
pub fn map_between(text: &str, base: &Vocab, value: &Vocab) -> Result<VocabMap> {
    Ok(match source(text)? {
        Source::Method(method) => align(base, value, method, None, &|_| ())?.map,
        Source::File(path, file) => file.map(base, value).with_context(|| format!("`{}`", path.display()))?,
    })
}

fn source(text: &str) -> Result<Source> {
    let path = Path::new(text);
    if !path.exists()
        && let Ok(method) = method(text)
    {
        if method.needs().is_some() {
            bail!(
                "--map {method} counts tokens in a corpus: make a file with `ivl align --method {method} --corpus FILE`"
            );
        }
        return Ok(Source::Method(method));
    }
    let context = || format!("cannot read the map `{text}`");
    let size = std::fs::metadata(path).with_context(context)?.len();
    if size > LARGEST_MAP {
        bail!("`{text}` has {size} bytes, more than the {LARGEST_MAP} that ivl reads for a map");
    }
    let bytes = std::fs::read(path).with_context(context)?;
    let file = MapFile::from_bytes(&bytes).with_context(|| format!("`{text}`"))?;
    Ok(Source::File(path.to_owned(), Box::new(file)))
}

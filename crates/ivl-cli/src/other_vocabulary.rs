//! Values whose vocabulary is not the base's: which map they take, and what they read.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use burn::tensor::Device;
use ivl_align::{MapFile, Method, align};
use ivl_core::{ByteFusedLm, ByteSettings, CausalLm, CrossFusedLm, Error, Retokenizer, Vocab, VocabMap};
use ivl_models::{Checkpoint, Tokenizer, TransformerLm};

use crate::args::{Common, Vocabularies};
use crate::compose::load_lm;
use crate::device::Weights;
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
    settings: ByteSettings,
}

/// A value of another vocabulary that was attached: what it can read.
pub struct Reads {
    name: String,
    tokenizer: Tokenizer,
    max_positions: usize,
}

impl Crossing {
    pub fn new(options: &Vocabularies) -> Result<Self> {
        let sources = options.map.iter().map(|text| source(text)).collect::<Result<_>>()?;
        let reference = options.byte_fusion.as_deref().map(resolve).transpose()?;
        let settings = ByteSettings { unseen: options.unseen, branches: options.branches };
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

    /// Attaches a value of another vocabulary; `refusal` is what is said if nothing leads to it.
    pub fn attach(
        &self,
        base: Box<dyn CausalLm>,
        (value, tokenizer, alpha): (TransformerLm, Tokenizer, f64),
        refusal: Error,
        (device, dtype, common): (&Device, Weights, &Common),
    ) -> Result<Box<dyn CausalLm>> {
        let Some(map) = self.map(base.vocab(), value.vocab())? else { return Err(refusal.into()) };
        let (value, reader) = (Box::new(value), Box::new(tokenizer));
        let Some(reference) = &self.reference else {
            return Ok(Box::new(CrossFusedLm::new(base, value, alpha, map, reader)?));
        };
        let (reference, _) = load_lm(&Checkpoint::open(reference)?, device, dtype, common)?;
        let reference = Box::new(reference);
        Ok(Box::new(ByteFusedLm::new(base, reference, value, alpha, &map, reader, self.settings)?))
    }
}

impl Reads {
    pub fn new(dir: &Path, tokenizer: &Tokenizer, max_positions: usize) -> Self {
        Self { name: dir.display().to_string(), tokenizer: tokenizer.clone(), max_positions }
    }

    /// Refuses a text that the value cannot read; while a text is generated, the base stands alone there.
    pub fn check(&self, text: &str) -> Result<()> {
        let got = self.tokenizer.write(text).with_context(|| format!("value `{}`", self.name))?.len();
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

//! A checkpoint directory in Hugging Face layout: opening, loading, saving.

pub(crate) mod adapter;
pub(crate) mod parameters;
pub(crate) mod tensor_files;
pub(crate) mod weights;

pub use adapter::{Adapters, save_adapters};
pub use parameters::{NamedParameter, initialize, initialize_as, initialize_packed};
pub use tensor_files::TensorFiles;
pub use weights::{Rows, Rule, WeightMap};

use parameters::{Source, fill, fill_packed, parameter_shapes};
use tensor_files::Stored;

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use burn::tensor::{DType, Device};
use ivl_core::Vocab;
use ivl_core::vocab::{Role, TokenKind};
use ivl_kernels::Format;
use serde_json::{Map, Value};

use crate::config::ModelConfig;
use crate::error::WeightReport;
use crate::families::{Family, read_config};
use crate::files::{read_json, write_bytes, write_whole};
use crate::template::chat::ChatTemplate;
use crate::tokenizer::Tokenizer;
use crate::transformer::Transformer;
use crate::{Error, TransformerLm};

/// An opened checkpoint: its configuration is read, its weights are not.
#[derive(Debug)]
pub struct Checkpoint {
    dir: PathBuf,
    json: Map<String, Value>,
    family: &'static Family,
    config: ModelConfig,
}

/// How far loading has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Numbers loaded.
    pub done: u64,
    /// Numbers in all.
    pub total: u64,
}

impl Checkpoint {
    /// Opens a directory that holds a `config.json`.
    ///
    /// # Errors
    /// [`Error::NotACheckpoint`] if it holds none, and what [`read_config`] says about it.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        let path = dir.join("config.json");
        if !path.is_file() {
            return Err(Error::NotACheckpoint { dir: dir.to_owned(), expected: "config.json" });
        }
        Self::from_json(dir, read_json(&path)?)
    }

    /// A directory with the configuration that it has or will have.
    pub(crate) fn from_json(dir: &Path, json: Map<String, Value>) -> Result<Self, Error> {
        let (family, config) = read_config(&json, &dir.join("config.json"))?;
        Ok(Self { dir: dir.to_owned(), json, family, config })
    }

    /// The same directory under another configuration, for a model of another shape with the same tokenizer.
    ///
    /// # Errors
    /// What [`read_config`] says about it.
    pub fn with_config(self, json: Map<String, Value>) -> Result<Self, Error> {
        Self::from_json(&self.dir, json)
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// `config.json` as it stands.
    pub fn json(&self) -> &Map<String, Value> {
        &self.json
    }

    /// The family.
    pub fn family(&self) -> &'static Family {
        self.family
    }

    /// The shape of the model.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The tokenizer.
    ///
    /// # Errors
    /// [`Error::NotACheckpoint`] without a `tokenizer.json`, [`Error::Tokenizer`] for one that cannot be read.
    pub fn tokenizer(&self) -> Result<Tokenizer, Error> {
        let path = self.dir.join("tokenizer.json");
        if !path.is_file() {
            return Err(Error::NotACheckpoint { dir: self.dir.clone(), expected: "tokenizer.json" });
        }
        Ok(Tokenizer::from_file(&path)?)
    }

    /// The chat template, if there is one.
    ///
    /// # Errors
    /// [`Error::Chat`] for one that cannot be read.
    pub fn chat_template(&self) -> Result<Option<ChatTemplate>, Error> {
        Ok(ChatTemplate::from_dir(&self.dir)?)
    }

    /// The vocabulary of the model: the tokenizer's tokens, padded to the number of logits.
    ///
    /// # Errors
    /// [`Error::TokenizerMismatch`] if an ordinary token has no logit. Control tokens beyond the logits, which some
    /// tokenizers define and no text contains, are left out. [`Error::Json`] as [`end_tokens`](Self::end_tokens).
    pub fn vocab(&self, tokenizer: &Tokenizer) -> Result<Vocab, Error> {
        let (mut vocab, size) = (tokenizer.vocab(), self.config.vocab_size);
        for id in self.end_tokens(tokenizer)? {
            vocab = vocab.with_role(Role::End, id);
        }
        let beyond =
            vocab.iter().enumerate().skip(size).find_map(|(id, token)| token.map(|token| (id, token)));
        match beyond {
            None => Ok(vocab.cut_to(size).padded_to(size)),
            Some((_, token)) if token.kind == TokenKind::Control && all_control(&vocab, size) => {
                Ok(vocab.cut_to(size))
            }
            Some((id, token)) => Err(Error::TokenizerMismatch {
                dir: self.dir.clone(),
                id: id as u32,
                token: String::from_utf8_lossy(&token.bytes).into_owned(),
                vocab_size: size,
            }),
        }
    }

    /// Tokens that end a text: `eos_token_id` of `generation_config.json` and `config.json`, and the tokenizer's own.
    ///
    /// # Errors
    /// [`Error::Json`] for a `generation_config.json` that is not JSON.
    pub fn end_tokens(&self, tokenizer: &Tokenizer) -> Result<Vec<u32>, Error> {
        let path = self.dir.join("generation_config.json");
        let generation = if path.is_file() { read_json(&path)? } else { Map::new() };
        let ids = |json: &Map<String, Value>| -> Vec<u32> {
            match json.get("eos_token_id") {
                Some(Value::Array(ids)) => ids.iter().filter_map(Value::as_u64).map(|id| id as u32).collect(),
                Some(id) => id.as_u64().map(|id| id as u32).into_iter().collect(),
                None => Vec::new(),
            }
        };
        let all: BTreeSet<u32> =
            ids(&generation).into_iter().chain(ids(&self.json)).chain(tokenizer.eos_id()).collect();
        Ok(all.into_iter().collect())
    }

    /// The tensors in the files.
    ///
    /// # Errors
    /// As [`TensorFiles::open`].
    pub fn tensors(&self) -> Result<TensorFiles, Error> {
        TensorFiles::open(&self.dir)
    }

    /// Loads the weights. Each tensor is read from the mapped file once, into its place: memory beyond the weights is at
    /// most the largest tensor.
    ///
    /// # Errors
    /// [`Error::Weights`] lists every tensor that is missing, has another shape, or is not used.
    pub fn load(
        &self,
        device: &Device,
        dtype: DType,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Transformer, Error> {
        self.fill(device, progress, |net, source| fill(net, source, device, dtype))
    }

    /// Loads the weights for inference on the CPU, laid out for kernels and kept in `format`; see [`Transformer::packed`]. Memory
    /// beyond the packed weights is at most the largest tensor in f32.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_packed(
        &self,
        device: &Device,
        format: Format,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Transformer, Error> {
        self.fill(device, progress, |net, source| fill_packed(net, source, device, format))
    }

    fn fill(
        &self,
        device: &Device,
        progress: &mut dyn FnMut(Progress),
        fill: impl FnOnce(Transformer, &mut FromFiles<'_>) -> Transformer,
    ) -> Result<Transformer, Error> {
        let files = self.tensors()?;
        let map = (self.family.weights)(&self.config);
        let net = self.config.init(device);
        let plan = plan(&net, &map, &files, &self.dir)?;
        // Every shape is now known to fit what the files hold, so that nothing larger than them is allocated.
        let total = plan.values().map(|entry| entry.len).sum();
        let mut source = FromFiles { plan, files: &files, done: 0, total, progress, failed: None };
        let net = fill(net, &mut source);
        match source.failed {
            Some(error) => Err(error),
            None => Ok(net),
        }
    }

    /// Loads model and tokenizer as a causal LM.
    ///
    /// # Errors
    /// As [`load`](Self::load), [`tokenizer`](Self::tokenizer) and [`vocab`](Self::vocab).
    pub fn load_lm(
        &self,
        device: &Device,
        dtype: DType,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(TransformerLm, Tokenizer), Error> {
        let tokenizer = self.tokenizer()?;
        let vocab = self.vocab(&tokenizer)?;
        let net = self.load(device, dtype, progress)?;
        Ok((TransformerLm::new(net, vocab, &self.dir.display().to_string()), tokenizer))
    }

    /// [`load_lm`](Self::load_lm) for inference on the CPU; see [`load_packed`](Self::load_packed).
    ///
    /// # Errors
    /// As [`load_lm`](Self::load_lm).
    pub fn load_packed_lm(
        &self,
        device: &Device,
        format: Format,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(TransformerLm, Tokenizer), Error> {
        let tokenizer = self.tokenizer()?;
        let vocab = self.vocab(&tokenizer)?;
        let net = self.load_packed(device, format, progress)?;
        Ok((TransformerLm::new(net, vocab, &self.dir.display().to_string()), tokenizer))
    }
}

fn all_control(vocab: &Vocab, size: usize) -> bool {
    vocab.iter().skip(size).flatten().all(|token| token.kind == TokenKind::Control)
}

/// Where one parameter comes from.
struct Planned {
    rule: Rule,
    tensor: String,
    len: u64,
}

/// Finds the tensor of every parameter, and reports all that do not fit at once.
fn plan(
    net: &Transformer,
    map: &WeightMap,
    files: &TensorFiles,
    dir: &Path,
) -> Result<HashMap<String, Planned>, Error> {
    let mut report = WeightReport::default();
    let mut plan = HashMap::new();
    let mut used = BTreeSet::new();
    for (path, shape) in parameter_shapes(net) {
        let (rule, name) = map.resolve(&path);
        // Files saved from the model without its head leave the prefix out.
        let short = name.strip_prefix(map.prefix()).unwrap_or(&name);
        let Some(tensor) = [name.as_str(), short].into_iter().find(|name| files.shape(name).is_some()) else {
            report.missing.push(name);
            continue;
        };
        used.insert(tensor.to_owned());
        let (got, expected) = (files.shape(tensor).unwrap_or_default(), rule.stored_shape(&shape));
        if got != expected {
            report.misshapen.push((tensor.to_owned(), got.to_vec(), expected));
        }
        let len = shape.iter().product::<usize>() as u64;
        plan.insert(path, Planned { rule: *rule, tensor: tensor.to_owned(), len });
    }
    // A tied head is often stored all the same.
    let spare_head =
        |name: &str| net.config().embedding.tied && matches!(name, "lm_head.weight" | "embed_out.weight");
    let unused =
        files.names().filter(|name| !used.contains(*name) && !map.ignores(name) && !spare_head(name));
    report.unused = unused.map(str::to_owned).collect();
    report.missing.dedup();
    report.misshapen.dedup();
    if report.is_empty() { Ok(plan) } else { Err(Error::Weights { dir: dir.to_owned(), report }) }
}

struct FromFiles<'a> {
    plan: HashMap<String, Planned>,
    files: &'a TensorFiles,
    done: u64,
    total: u64,
    progress: &'a mut dyn FnMut(Progress),
    failed: Option<Error>,
}

impl Source for FromFiles<'_> {
    fn fill(&mut self, path: &str, shape: &[usize], put: &mut dyn FnMut(usize, f32)) {
        let planned = &self.plan[path];
        match self.files.tensor(&planned.tensor) {
            Ok(stored) => transfer(&planned.rule, shape, |stored_at, ours| put(ours, stored.get(stored_at))),
            Err(error) => self.failed = Some(self.failed.take().unwrap_or(error)),
        }
        self.files.release(&planned.tensor);
        self.done += planned.len;
        (self.progress)(Progress { done: self.done, total: self.total });
    }
}

/// Edge of the tiles in which a matrix is transposed, so that both sides stay in the cache.
const TILE: usize = 32;

/// Visits every element of one of our parameters with its index in the stored tensor and its own.
fn transfer(rule: &Rule, shape: &[usize], mut visit: impl FnMut(usize, usize)) {
    match *shape {
        [inputs, outputs] => {
            let total = rule.rows.total(outputs);
            for (row, column) in tiles(inputs, outputs) {
                for input in row..(row + TILE).min(inputs) {
                    for output in column..(column + TILE).min(outputs) {
                        let stored = rule.rows.stored(output);
                        let stored =
                            if rule.transposed { stored * inputs + input } else { input * total + stored };
                        visit(stored, input * outputs + output);
                    }
                }
            }
        }
        _ => (0..shape.iter().product()).for_each(|index| visit(rule.rows.stored(index), index)),
    }
}

fn tiles(rows: usize, columns: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..rows).step_by(TILE).flat_map(move |row| (0..columns).step_by(TILE).map(move |column| (row, column)))
}

/// Writes a model in Hugging Face layout: `config.json` and `model.safetensors`, in f32, each whole or not at all. Other
/// tools load the directory as an ordinary causal LM.
///
/// # Errors
/// [`Error::Io`] if the directory cannot be written, [`Error::InvalidField`] if `json` does not describe `net`.
pub fn save(net: &Transformer, json: &Map<String, Value>, dir: &Path) -> Result<(), Error> {
    let (family, config) = read_config(json, &dir.join("config.json"))?;
    if config != *net.config() {
        return Err(Error::InvalidField {
            path: dir.join("config.json"),
            field: "config.json".to_owned(),
            expected: "the configuration of the model that is saved".to_owned(),
            got: "another one".to_owned(),
        });
    }
    std::fs::create_dir_all(dir).map_err(Error::io("create", dir))?;
    let map = (family.weights)(&config);
    let mut tensors: Vec<(String, SavedTensor<'_>)> = Vec::new();
    let parameters = net.named_parameters();
    for parameter in &parameters {
        let (rule, name) = map.resolve(&parameter.path);
        if let Some((_, tensor)) = tensors.iter_mut().find(|(known, _)| *known == name) {
            tensor.parts.push((*rule, parameter));
        } else {
            let shape = rule.stored_shape(&parameter.shape);
            tensors.push((name, SavedTensor { shape, parts: vec![(*rule, parameter)] }));
        }
    }
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    write_whole(&dir.join("model.safetensors"), |partial| {
        safetensors::serialize_to_file(tensors, Some(metadata), partial).map_err(|error| match error {
            safetensors::SafeTensorError::IoError(error) => error,
            other => std::io::Error::other(other),
        })
    })?;
    let mut json = json.clone();
    json.remove("torch_dtype");
    json.insert("dtype".to_owned(), Value::from("float32"));
    write_bytes(&dir.join("config.json"), &serde_json::to_vec_pretty(&json).unwrap_or_default())
}

/// A tensor of the file, put together from our parameters when it is written.
struct SavedTensor<'a> {
    shape: Vec<usize>,
    parts: Vec<(Rule, &'a NamedParameter)>,
}

impl safetensors::View for SavedTensor<'_> {
    fn dtype(&self) -> safetensors::Dtype {
        safetensors::Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let mut bytes = vec![0u8; self.data_len()];
        for (rule, parameter) in &self.parts {
            let numbers = parameter.tensor.clone().cast(DType::F32).into_data();
            let ours = Stored::F32(numbers.as_bytes());
            transfer(rule, &parameter.shape, |stored, index| {
                bytes[4 * stored..4 * stored + 4].copy_from_slice(&ours.get(index).to_le_bytes());
            });
        }
        Cow::Owned(bytes)
    }

    fn data_len(&self) -> usize {
        4 * self.shape.iter().product::<usize>()
    }
}

//! From the tensors of a checkpoint to a network.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use burn::tensor::Device;

use super::layout::for_each_pair;
use super::open::Checkpoint;
use super::tensor_files::TensorFiles;
use crate::families::weight_map::{Rule, WeightMap};

use crate::error::{HEADS, WeightReport};
use crate::tokenizer::Tokenizer;
use crate::transformer::Transformer;
use crate::transformer::parameters::{ParameterSource, fill_parameters, parameter_shapes};
use crate::{Error, TransformerLm, Weights};

/// How far loading has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Numbers loaded.
    pub done: u64,
    /// Numbers in all.
    pub total: u64,
}

/// How a checkpoint is loaded. [`Weights`], and what converts into it, converts into options without progress.
#[derive(Default)]
pub struct LoadOptions<'a> {
    weights: Weights,
    progress: Option<&'a mut dyn FnMut(Progress)>,
}

impl<'a> LoadOptions<'a> {
    /// Loads the weights in this form, and reports no progress.
    pub fn new(weights: impl Into<Weights>) -> Self {
        Self { weights: weights.into(), progress: None }
    }

    /// Calls `progress` after each parameter.
    #[must_use]
    pub fn progress(self, progress: &'a mut dyn FnMut(Progress)) -> Self {
        Self { progress: Some(progress), ..self }
    }
}

impl<T: Into<Weights>> From<T> for LoadOptions<'_> {
    fn from(weights: T) -> Self {
        Self::new(weights)
    }
}

impl Checkpoint {
    /// Loads the weights. Each tensor is read once from the mapped file, into its place: memory beyond the weights is at most
    /// the largest tensor, in f32 if the weights are packed.
    ///
    /// ```no_run
    /// # use burn::tensor::{DType, Device};
    /// # use ivl_models::{Checkpoint, LoadOptions};
    /// # fn main() -> Result<(), ivl_models::Error> {
    /// let checkpoint = Checkpoint::open("path/to/checkpoint".as_ref())?;
    /// let net = checkpoint.load(&Device::default(), DType::F32)?;
    /// let mut show = |progress: ivl_models::Progress| eprintln!("{} of {}", progress.done, progress.total);
    /// let net = checkpoint.load(&Device::default(), LoadOptions::new(DType::F32).progress(&mut show))?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Weights`] lists every tensor that is missing, has another shape, or is not used.
    pub fn load<'a>(
        &self,
        device: &Device,
        options: impl Into<LoadOptions<'a>>,
    ) -> Result<Transformer, Error> {
        let LoadOptions { weights, progress } = options.into();
        let files = self.tensors()?;
        let map = (self.family().weights)(self.config());
        let net = self.config().init(device);
        let plan = plan(&net, &map, &files, self.dir())?;
        // Every shape is now known to fit what the files hold, so that nothing larger than them is allocated.
        let total = plan.values().map(|entry| entry.len).sum();
        let mut source = TensorSource { plan, files: &files, done: 0, total, progress, failed: None };
        let net = fill_parameters(net, &mut source, device, weights);
        match source.failed {
            Some(error) => Err(error),
            None => Ok(net),
        }
    }

    /// The number of numbers that [`load`](Self::load) reads; no weight is read.
    pub fn num_parameters(&self) -> u64 {
        // A parameter takes no memory before it is filled.
        let net = self.config().init(&Device::default());
        parameter_shapes(&net).iter().map(|(_, shape)| shape.iter().product::<usize>() as u64).sum()
    }

    /// Loads model and tokenizer as a causal LM.
    ///
    /// # Errors
    /// As [`load`](Self::load), [`tokenizer`](Self::tokenizer) and [`vocab`](Self::vocab).
    pub fn load_lm<'a>(
        &self,
        device: &Device,
        options: impl Into<LoadOptions<'a>>,
    ) -> Result<(TransformerLm, Tokenizer), Error> {
        let tokenizer = self.tokenizer()?;
        let vocab = self.vocab(&tokenizer)?;
        let net = self.load(device, options)?;
        Ok((TransformerLm::new(net, vocab, &self.dir().display().to_string()), tokenizer))
    }
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
        let mut names = vec![name.as_str(), short];
        if path == "embedding.weight" && net.config().embedding.tied {
            // A tied matrix may be stored as the head only.
            names.extend(HEADS);
        }
        let Some(tensor) = names.into_iter().find(|name| files.shape(name).is_some()) else {
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
    let spare_head = |name: &str| net.config().embedding.tied && HEADS.contains(&name);
    let unused =
        files.names().filter(|name| !used.contains(*name) && !map.ignores(name) && !spare_head(name));
    report.unused = unused.map(str::to_owned).collect();
    report.missing.dedup();
    report.misshapen.dedup();
    if report.is_empty() { Ok(plan) } else { Err(Error::Weights { dir: dir.to_owned(), report }) }
}

struct TensorSource<'a, 'p> {
    plan: HashMap<String, Planned>,
    files: &'a TensorFiles,
    done: u64,
    total: u64,
    progress: Option<&'p mut dyn FnMut(Progress)>,
    failed: Option<Error>,
}

impl ParameterSource for TensorSource<'_, '_> {
    fn fill(&mut self, path: &str, shape: &[usize], put: &mut dyn FnMut(usize, f32)) {
        let planned = &self.plan[path];
        match self.files.tensor(&planned.tensor) {
            Ok(stored) => {
                for_each_pair(&planned.rule, shape, |stored_at, ours| put(ours, stored.get(stored_at)));
            }
            Err(error) => self.failed = Some(self.failed.take().unwrap_or(error)),
        }
        self.files.release(&planned.tensor);
        self.done += planned.len;
        if let Some(progress) = &mut self.progress {
            progress(Progress { done: self.done, total: self.total });
        }
    }
}

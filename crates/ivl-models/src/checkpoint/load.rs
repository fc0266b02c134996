//! From the tensors of a checkpoint to a network.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use burn::tensor::Device;

use super::layout::Layout;
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
        let parameters = StoredParameters::new(self, &files)?;
        // Every shape is now known to fit what the files hold, so that nothing larger than them is allocated.
        let total = parameters.shapes().iter().map(|(_, shape)| shape.iter().product::<usize>() as u64).sum();
        let mut source = TensorSource { parameters, done: 0, total, progress };
        Ok(fill_parameters(self.config().init(device), &mut source, device, weights))
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
        Ok((TransformerLm::new(net, vocab, &self.path().display().to_string()), tokenizer))
    }
}

/// Where one parameter comes from.
struct Planned {
    rule: Rule,
    tensor: String,
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
        plan.insert(path, Planned { rule: *rule, tensor: tensor.to_owned() });
    }
    // A tied head is often stored all the same.
    let head = map.resolve("head.weight").1;
    let spare_head = |name: &str| net.config().embedding.tied && (HEADS.contains(&name) || name == head);
    let unused =
        files.names().filter(|name| !used.contains(*name) && !map.ignores(name) && !spare_head(name));
    report.unused = unused.map(str::to_owned).collect();
    report.missing.dedup();
    report.misshapen.dedup();
    if report.is_empty() { Ok(plan) } else { Err(Error::Weights { dir: dir.to_owned(), report }) }
}

/// The parameters of a model in the files of its checkpoint.
struct StoredParameters<'a> {
    plan: HashMap<String, Planned>,
    shapes: Vec<(String, Vec<usize>)>,
    files: &'a TensorFiles,
}

impl<'a> StoredParameters<'a> {
    /// Those of a checkpoint with these files.
    ///
    /// # Errors
    /// [`Error::Weights`] as [`Checkpoint::load`], [`Error::TensorType`] for a tensor that cannot be read.
    fn new(checkpoint: &Checkpoint, files: &'a TensorFiles) -> Result<Self, Error> {
        let net = checkpoint.config().init(&Device::flex());
        let plan = plan(&net, &checkpoint.weight_map(), files, checkpoint.path())?;
        for planned in plan.values() {
            files.tensor(&planned.tensor)?;
        }
        Ok(Self { plan, shapes: parameter_shapes(&net), files })
    }

    /// Paths and shapes.
    fn shapes(&self) -> &[(String, Vec<usize>)] {
        &self.shapes
    }

    /// Reads a parameter, a few stored rows at a time.
    fn read(&self, path: &str, shape: &[usize], put: &mut dyn FnMut(usize, &[f32])) {
        let planned = &self.plan[path];
        let stored = self.files.tensor(&planned.tensor).expect("a type that was read before");
        let layout = Layout::new(&planned.rule, shape);
        let columns = layout.columns();
        let mut rows = Vec::new();
        for band in layout.bands() {
            rows.resize(band.len() * columns, 0.0);
            for (row, numbers) in band.clone().zip(rows.chunks_exact_mut(columns)) {
                stored.read(layout.stored_row(row) * columns, numbers);
            }
            layout.load(&band, &rows, put);
        }
        self.files.release(&planned.tensor);
    }
}

struct TensorSource<'a, 'p> {
    parameters: StoredParameters<'a>,
    done: u64,
    total: u64,
    progress: Option<&'p mut dyn FnMut(Progress)>,
}

impl ParameterSource for TensorSource<'_, '_> {
    fn fill(&mut self, path: &str, shape: &[usize], put: &mut dyn FnMut(usize, &[f32])) {
        self.parameters.read(path, shape, put);
        self.done += shape.iter().product::<usize>() as u64;
        if let Some(progress) = &mut self.progress {
            progress(Progress { done: self.done, total: self.total });
        }
    }
}

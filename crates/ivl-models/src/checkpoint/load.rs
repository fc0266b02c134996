//! From the tensors of a checkpoint to a network.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use burn::tensor::Device;
use ivl_kernels::PackedFormat;

use super::layout::Layout;
use super::open::Checkpoint;
use super::stored_tensor::{StoredTensor, StoredType};
use super::tensor_files::TensorFiles;
use crate::families::weight_map::{TensorPlace, WeightMap};
use crate::families::wrapped::is_other_part;

use crate::error::{HEADS, WeightReport};
use crate::tokenizer::Tokenizer;
use crate::transformer::Transformer;
use crate::transformer::parameters::{ParameterSource, fill_parameters, parameter_shapes};
use crate::transformer::stored_matrix::StoredMatrix;
use crate::{DeviceMap, Error, TransformerLm, Weights};

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
        self.load_on(&DeviceMap::single(device, weights), progress)
    }

    /// Loads the weights onto several devices; the map says how each keeps them. `progress` is called after each parameter.
    ///
    /// # Errors
    /// As [`load`](Self::load), and [`Error::DeviceMap`] for a map that does not fit the model.
    pub fn load_on(
        &self,
        map: &DeviceMap,
        progress: Option<&mut dyn FnMut(Progress)>,
    ) -> Result<Transformer, Error> {
        map.check(self.config())?;
        let files = self.tensors()?;
        let parameters = StoredParameters::new(self, &files)?;
        // Every shape is now known to fit what the files hold, so that nothing larger than them is allocated.
        let total = count(parameters.shapes());
        let mut source = TensorSource { parameters, done: 0, total, progress };
        let weights = |path: &str| map.parts()[map.part_of(path)].weights;
        Ok(fill_parameters(self.config().init_on(map), &mut source, &weights))
    }

    /// The number of numbers that [`load`](Self::load) reads; no weight is read.
    pub fn num_parameters(&self) -> u64 {
        // A parameter takes no memory before it is filled.
        let net = self.config().init(&Device::default());
        count(&parameter_shapes(&net))
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

/// The numbers of all parameters.
fn count(shapes: &[(String, Vec<usize>)]) -> u64 {
    shapes.iter().map(|(_, shape)| shape.iter().product::<usize>() as u64).sum()
}

/// Where one parameter comes from.
struct Planned {
    place: TensorPlace,
    /// The name in the files.
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
        let mut places = map.places(&path);
        let tied = path == "embedding.weight" && net.config().embedding.tied;
        let found = places.iter().enumerate().find_map(|(index, place)| {
            // Files saved from the model without its head leave the prefix out.
            let short = place.name.strip_prefix(map.prefix()).unwrap_or(&place.name);
            // A tied matrix may be stored as the head only.
            let heads = HEADS.into_iter().filter(|_| tied);
            let mut names = [place.name.as_str(), short].into_iter().chain(heads);
            names.find(|name| files.shape(name).is_some()).map(|name| (index, name.to_owned()))
        });
        let Some((index, tensor)) = found else {
            report.missing.push(places.swap_remove(0).name);
            continue;
        };
        let place = places.swap_remove(index);
        let (got, expected) = (files.shape(&tensor).unwrap_or_default(), place.rule.stored_shape(&shape));
        if got != expected {
            report.misshapen.push((tensor.clone(), got.to_vec(), expected));
        }
        used.insert(tensor.clone());
        plan.insert(path, Planned { place, tensor });
    }
    // A tied head is often stored all the same.
    let head = map.resolve("head.weight").name;
    let spare_head = |name: &str| net.config().embedding.tied && (HEADS.contains(&name) || name == head);
    let is_left_out = |name: &str| map.ignores(name) || is_other_part(name) || spare_head(name);
    let unused = files.names().filter(|name| !used.contains(*name) && !is_left_out(name));
    report.unused = unused.map(str::to_owned).collect();
    report.missing.dedup();
    report.misshapen.dedup();
    if report.is_empty() { Ok(plan) } else { Err(Error::Weights { dir: dir.to_owned(), report }) }
}

/// The parameters of a model in the files of its checkpoint.
pub(super) struct StoredParameters<'a> {
    plan: HashMap<String, Planned>,
    shapes: Vec<(String, Vec<usize>)>,
    files: &'a TensorFiles,
}

impl<'a> StoredParameters<'a> {
    /// Those of a checkpoint with these files.
    ///
    /// # Errors
    /// [`Error::Weights`] as [`Checkpoint::load`], [`Error::TensorType`] for a tensor that cannot be read.
    pub(super) fn new(checkpoint: &Checkpoint, files: &'a TensorFiles) -> Result<Self, Error> {
        let net = checkpoint.config().init(&Device::flex());
        let plan = plan(&net, &checkpoint.weight_map(), files, checkpoint.path())?;
        for planned in plan.values() {
            files.tensor(&planned.tensor)?;
        }
        Ok(Self { plan, shapes: parameter_shapes(&net), files })
    }

    /// Paths and shapes.
    pub(super) fn shapes(&self) -> &[(String, Vec<usize>)] {
        &self.shapes
    }

    /// The numbers of a parameter, row-major.
    pub(super) fn numbers(&self, path: &str, shape: &[usize]) -> Vec<f32> {
        let mut numbers = vec![0f32; shape.iter().product()];
        self.read(path, shape, &mut |first, run| numbers[first..first + run.len()].copy_from_slice(run));
        numbers
    }

    /// Reads a parameter, a few stored rows at a time.
    fn read(&self, path: &str, shape: &[usize], put: &mut dyn FnMut(usize, &[f32])) {
        let planned = &self.plan[path];
        let stored = self.files.tensor(&planned.tensor).expect("a type that was read before");
        let layout = Layout::new(&planned.place, shape);
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

impl StoredParameters<'_> {
    /// A matrix whose outputs are stored as rows.
    pub(super) fn stored(&self, path: &str, shape: &[usize]) -> Option<StoredMatrix<'_>> {
        let planned = &self.plan[path];
        let layout = Layout::new(&planned.place, shape);
        if !layout.rows_are_outputs(path) {
            return None;
        }
        let stored = self.files.tensor(&planned.tensor).expect("a type that was read before");
        let shape = shape.to_vec();
        let place = move |output| {
            let layout = Layout::new(&planned.place, &shape);
            (layout.stored_row(output), layout.columns())
        };
        let blocks_place = place.clone();
        let mut matrix = StoredMatrix {
            format: PackedFormat::F32,
            numbers: Box::new(move |output, numbers| {
                let (row, columns) = place(output);
                stored.read(row * columns, numbers);
            }),
            blocks: None,
        };
        match stored {
            StoredTensor::Plain(_, StoredType::F16) => matrix.format = PackedFormat::F16,
            StoredTensor::Plain(bytes, kind @ StoredType::Blocks(format)) => {
                matrix.format = PackedFormat::Blocks(format);
                matrix.blocks = Some(Box::new(move |output| {
                    let (row, columns) = blocks_place(output);
                    let row_bytes = kind.size(columns);
                    &bytes[row * row_bytes..][..row_bytes]
                }));
            }
            StoredTensor::Plain(..) | StoredTensor::Quantized(_) => {}
        }
        Some(matrix)
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
        self.count(shape);
    }

    fn stored(&self, path: &str, shape: &[usize]) -> Option<StoredMatrix<'_>> {
        self.parameters.stored(path, shape)
    }

    fn done(&mut self, path: &str, shape: &[usize]) {
        self.parameters.files.release(&self.parameters.plan[path].tensor);
        self.count(shape);
    }
}

impl TensorSource<'_, '_> {
    fn count(&mut self, shape: &[usize]) {
        self.done += shape.iter().product::<usize>() as u64;
        if let Some(progress) = &mut self.progress {
            progress(Progress { done: self.done, total: self.total });
        }
    }
}

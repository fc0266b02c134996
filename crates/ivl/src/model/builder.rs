//! Opening a model in two steps: its files, with every check that needs no weights, then the weights.

use std::ffi::OsStr;

use ivl_core::fusion::{BaseLm, Gate};
use ivl_models::{ChatTemplate, TemplateChoice};

use super::draft_options::DraftOptions;
use super::text_reader::TextReader;
use super::value::PlannedValue;
use super::{Attach, Fused, Model, ValuePlacement, check_gate, place_models};
use crate::error::Result;
use crate::open_checkpoint::OpenCheckpoint;
use crate::open_options::OpenOptions;
use crate::placement::{ModelPlacement, Planner};

impl Model {
    /// Opens a base: a directory in Hugging Face layout, or a name on the hub (`org/name` or `org/name@revision`).
    ///
    /// # Errors
    /// Names that cannot be resolved and files that cannot be read.
    pub fn open(base: impl AsRef<OsStr>) -> Result<Self> {
        Self::builder(base).open()
    }

    /// Opens a base on a chosen device, in a chosen type.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with(base: impl AsRef<OsStr>, options: OpenOptions) -> Result<Self> {
        Self::builder(base).options(options).open()
    }

    /// A model that is opened with all its values at once, so that everything is checked before a weight is read.
    pub fn builder(base: impl AsRef<OsStr>) -> ModelBuilder {
        let base = base.as_ref().to_string_lossy().into_owned();
        ModelBuilder {
            base,
            values: Vec::new(),
            gate: None,
            renders_messages: false,
            drafts: None,
            options: OpenOptions::new(),
        }
    }
}

/// A model that is about to be opened; [`Model::builder`] begins one.
///
/// Everything that can be refused is refused before the first weight is read.
///
/// ```
/// # let large = "../../examples/first-value/large";
/// # let small = "../../examples/first-value/small";
/// let lm = ivl::Model::builder(large).attach(small, ivl::Attach::new().alpha(0.5)).open()?;
/// assert_eq!(lm.values()[0].alpha(), 0.5);
/// # Ok::<(), ivl::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct ModelBuilder {
    base: String,
    values: Vec<(String, Attach)>,
    gate: Option<Gate>,
    renders_messages: bool,
    drafts: Option<DraftOptions>,
    options: OpenOptions,
}

impl ModelBuilder {
    /// Device, type of the weights, progress.
    #[must_use]
    pub fn options(mut self, options: OpenOptions) -> Self {
        self.options = options;
        self
    }

    /// Attaches a value: a directory or a hub name.
    #[must_use]
    pub fn attach(mut self, value: impl AsRef<OsStr>, attach: Attach) -> Self {
        self.values.push((value.as_ref().to_string_lossy().into_owned(), attach));
        self
    }

    /// Consults the values only where a gate says so.
    #[must_use]
    pub fn gate(mut self, gate: Gate) -> Self {
        self.gate = Some(gate);
        self
    }

    /// Refuses models without a chat template.
    #[must_use]
    pub fn for_chat(mut self) -> Self {
        self.renders_messages = true;
        self
    }

    /// Refuses models that these drafts do not fit; [`Model::speculation`] loads them.
    #[must_use]
    pub fn for_drafts(mut self, drafts: DraftOptions) -> Self {
        self.drafts = Some(drafts);
        self
    }

    /// Checks everything, then loads the weights.
    ///
    /// # Errors
    /// As [`prepare`](Self::prepare) and [`PreparedModel::load`].
    pub fn open(self) -> Result<Model> {
        self.prepare()?.load()
    }

    /// Checks everything that can be checked without weights.
    ///
    /// # Errors
    /// Names that cannot be resolved, files that cannot be read, values that do not fit the base or the gate.
    pub fn prepare(self) -> Result<PreparedModel> {
        let Self { base, values, gate, renders_messages, drafts, options } = self;
        let mut planner = options.planner()?;
        if let TemplateChoice::File(path) = &options.chat_template {
            ChatTemplate::from_file(path)?;
        }
        let base = OpenCheckpoint::open(&base)?;
        let end_tokens = base.end_tokens()?;
        let values: Vec<PlannedValue> = values
            .iter()
            .map(|(name, attach)| PlannedValue::new(name, attach, &base.vocab))
            .collect::<Result<_>>()?;
        check_gate(gate, values.iter().map(PlannedValue::ungatable))?;
        if let Some(drafts) = &drafts {
            drafts.check(&base.vocab)?;
        }
        let (placement, value_placements) = place_models(&mut planner, &base, &values)?;
        let values = values.into_iter().zip(value_placements).collect();
        let prepared = PreparedModel { base, values, gate, drafts, options, placement, planner, end_tokens };
        if renders_messages {
            prepared.reader().chat_template()?;
        }
        Ok(prepared)
    }
}

/// A base and values that fit each other; no weight is read yet. [`ModelBuilder::prepare`](crate::ModelBuilder::prepare) makes one.
///
/// Texts can be refused before minutes of loading:
///
/// ```
/// let prepared = ivl::Model::builder("../../examples/first-value/large").prepare()?;
/// let prompt = prepared.reader().encode_prompt("Suna lives in")?;
/// let lm = prepared.load()?;
/// assert!(lm.stream_tokens(&[prompt], &ivl::GenerateConfig::default())?.next().is_some());
/// # Ok::<(), ivl::Error>(())
/// ```
pub struct PreparedModel {
    base: OpenCheckpoint,
    values: Vec<(PlannedValue, ValuePlacement)>,
    gate: Option<Gate>,
    drafts: Option<DraftOptions>,
    options: OpenOptions,
    /// The devices of the base.
    placement: ModelPlacement,
    planner: Planner,
    end_tokens: Vec<u32>,
}

impl PreparedModel {
    /// Turns texts into tokens, and refuses those that cannot be read.
    pub fn reader(&self) -> TextReader<'_> {
        let values = self.values.iter().map(|(value, _)| value.reader()).collect();
        TextReader::new(&self.base, values, &self.options.chat_template)
    }

    /// The number of tokens that every model can read.
    pub fn max_positions(&self) -> usize {
        self.reader().max_positions()
    }

    /// Loads the weights.
    ///
    /// # Errors
    /// Weights that cannot be read or do not fit their configuration.
    pub fn load(self) -> Result<Model> {
        let numbers = self.numbers()?;
        let Self { base, values: planned, gate, options, placement, planner, end_tokens, .. } = self;
        // The progress is that of all models together, with those of drafts, which are loaded later.
        let options = options.counting(numbers);
        let base_lm = base.load(None, &placement, &options)?;
        let fused = Fused::Ungated(BaseLm::plain(base_lm.clone()));
        let values = Vec::with_capacity(planned.len());
        let mut model = Model { base, base_lm, end_tokens, values, fused, options, placement, planner };
        for (value, placement) in planned {
            model.load_value(value, &placement)?;
        }
        model.fuse(gate)?;
        Ok(model)
    }

    /// The numbers that are loaded.
    fn numbers(&self) -> Result<u64> {
        let mut numbers = self.base.numbers(None);
        for (value, placement) in &self.values {
            let is_beside = placement.value.is_same(&self.placement);
            numbers += value.numbers(is_beside.then_some(self.base.path.as_path()));
        }
        if let Some(drafts) = &self.drafts {
            numbers += drafts.numbers()?;
        }
        Ok(numbers)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::{Arc, Mutex};

    use crate::{Attach, DraftOptions, DraftSource, LoadProgress, Model, OpenOptions};

    /// How far loading has come: the model, and numbers of all.
    type Seen = Vec<(String, u64, u64)>;

    #[test]
    fn one_progress_counts_the_numbers_of_all_models() {
        let (large, small) = ("../../examples/first-value/large", "../../examples/first-value/small");
        let seen: Arc<Mutex<Seen>> = Arc::default();
        let watched = seen.clone();
        let options = OpenOptions::new().progress(move |progress: LoadProgress<'_>| {
            let LoadProgress { model, done, total } = progress;
            watched.lock().expect("no panic").push((model.to_owned(), done, total));
        });
        let drafts = DraftOptions::new(DraftSource::Model(small.to_owned()));
        let builder = Model::builder(large).attach(small, Attach::new()).options(options);
        let model = builder.for_drafts(drafts.clone()).open().expect("opens");
        model.speculation(&drafts).expect("loads");
        let seen = seen.lock().expect("no panic");
        let totals: BTreeSet<u64> = seen.iter().map(|(_, _, total)| *total).collect();
        assert_eq!(totals.len(), 1, "{totals:?}");
        assert!(seen.windows(2).all(|pair| pair[0].1 < pair[1].1), "{seen:?}");
        assert_eq!(seen.last().map(|(_, done, total)| done == total), Some(true), "{:?}", seen.last());
        let models: BTreeSet<&String> = seen.iter().map(|(model, _, _)| model).collect();
        assert_eq!(models.len(), 2);
    }
}

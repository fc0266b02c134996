//! How models are opened.

use std::fmt;
use std::sync::Arc;

use ivl_models::{Checkpoint, LoadOptions, Note, TemplateChoice, Transformer};

use crate::device::{Dtype, Placement};
use crate::error::{Error, Result};

/// How far the loading of a model has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadProgress<'a> {
    /// The directory or file of the model.
    pub model: &'a str,
    /// Numbers loaded.
    pub done: u64,
    /// Numbers in all.
    pub total: u64,
}

type OnNote = Arc<dyn Fn(&Note) + Send + Sync>;
type OnProgress = Arc<dyn Fn(LoadProgress<'_>) + Send + Sync>;

/// Device, type of the weights, and who watches the loading.
///
/// ```
/// let options = ivl::OpenOptions::new().device("cpu").dtype(ivl::Dtype::F32);
/// let lm = ivl::Model::open_with("../../examples/first-value/large", options)?;
/// # Ok::<(), ivl::Error>(())
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct OpenOptions {
    /// auto, cpu, cuda, cuda:N or wgpu; for training several, separated by commas. `auto` unless set.
    pub device: String,
    /// The type of the weights in memory. [`Dtype::Auto`] unless set.
    pub dtype: Dtype,
    /// The chat template of a base with values. That of the first value that has one, else the base's, unless set.
    pub chat_template: TemplateChoice,
    progress: Option<OnProgress>,
    on_note: Option<OnNote>,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            device: "auto".to_owned(),
            dtype: Dtype::Auto,
            chat_template: TemplateChoice::default(),
            progress: None,
            on_note: None,
        }
    }
}

impl fmt::Debug for OpenOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenOptions")
            .field("device", &self.device)
            .field("dtype", &self.dtype)
            .finish_non_exhaustive()
    }
}

impl OpenOptions {
    /// The best device that is found, in the type that suits it.
    pub fn new() -> Self {
        Self::default()
    }

    /// The device: auto, cpu, cuda, cuda:N or wgpu.
    #[must_use]
    pub fn device(mut self, device: impl Into<String>) -> Self {
        self.device = device.into();
        self
    }

    /// The type of the weights.
    #[must_use]
    pub fn dtype(mut self, dtype: Dtype) -> Self {
        self.dtype = dtype;
        self
    }

    /// Called while weights are loaded, from the thread that loads them.
    #[must_use]
    pub fn progress(mut self, progress: impl Fn(LoadProgress<'_>) + Send + Sync + 'static) -> Self {
        self.progress = Some(Arc::new(progress));
        self
    }

    /// The chat template of a base with values.
    #[must_use]
    pub fn chat_template(mut self, choice: TemplateChoice) -> Self {
        self.chat_template = choice;
        self
    }

    /// Called with what is worth saying about a checkpoint whose weights are loaded.
    #[must_use]
    pub fn on_note(mut self, on_note: impl Fn(&Note) + Send + Sync + 'static) -> Self {
        self.on_note = Some(Arc::new(on_note));
        self
    }

    /// The same without callbacks.
    pub(crate) fn quiet(&self) -> Self {
        Self { progress: None, on_note: None, ..self.clone() }
    }

    /// The device and how weights are kept on it.
    ///
    /// # Errors
    /// As [`Placement::new`].
    pub fn placement(&self) -> Result<Placement> {
        Placement::new(&self.device, self.dtype)
    }

    /// Loads the weights of a checkpoint.
    pub(crate) fn load(&self, checkpoint: &Checkpoint, placement: &Placement) -> Result<Transformer> {
        let model = checkpoint.path().display().to_string();
        if let Some(on_note) = &self.on_note {
            checkpoint.notes()?.iter().for_each(|note| on_note(note));
        }
        let mut show = |progress: ivl_models::Progress| {
            if let Some(on_progress) = &self.progress {
                on_progress(LoadProgress { model: &model, done: progress.done, total: progress.total });
            }
        };
        let options = LoadOptions::new(placement.weights).progress(&mut show);
        let loaded = checkpoint.load(&placement.device, options);
        loaded.map_err(|error| Error::load(model.clone())(error.into()))
    }
}

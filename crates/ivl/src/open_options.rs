//! How models are opened.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ivl_models::{Checkpoint, Note, TemplateChoice, Transformer};

use crate::device::{Dtype, Placement, is_cpu};
use crate::error::{Error, Result};
use crate::kv_cache::KvCacheDtype;
use crate::placement::{ModelDevices, ModelPlacement, PlacedModel, Planner};

/// How far the loading of the models that are opened together has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadProgress<'a> {
    /// The directory of the model that is being loaded.
    pub model: &'a str,
    /// Numbers loaded, of all models.
    pub done: u64,
    /// Numbers of all models.
    pub total: u64,
}

type OnNote = Arc<dyn Fn(&Note) + Send + Sync>;
type OnProgress = Arc<dyn Fn(LoadProgress<'_>) + Send + Sync>;
type OnPlaced = Arc<dyn Fn(PlacedModel<'_>) + Send + Sync>;

/// Devices, type of the weights, and who watches the loading.
///
/// ```
/// let options = ivl::OpenOptions::new().device("cpu").dtype(ivl::Dtype::F32);
/// let lm = ivl::Model::open_with("../../examples/first-value/large", options)?;
/// # Ok::<(), ivl::Error>(())
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct OpenOptions {
    /// auto, cpu, cuda, cuda:N or wgpu, or several of them, separated by commas: the layers of a model are placed on them by memory,
    /// and training distributes micro-batches over them. `auto` unless set.
    pub device: String,
    /// The devices of single models, in the place of [`device`](Self::device). None unless set.
    pub places: Vec<ModelDevices>,
    /// The type of the weights in memory. [`Dtype::Auto`] unless set.
    pub dtype: Dtype,
    /// The type in which the cache keeps keys and values. [`KvCacheDtype::Auto`] unless set.
    pub kv_cache_dtype: KvCacheDtype,
    /// The chat template of a base with values. That of the first value that has one, else the base's, unless set.
    pub chat_template: TemplateChoice,
    progress: Option<OnProgress>,
    on_note: Option<OnNote>,
    on_placed: Option<OnPlaced>,
    /// Counts over all models that are opened together.
    count: Option<Arc<LoadCount>>,
}

/// Numbers of models that are loaded one after the other.
#[derive(Debug)]
struct LoadCount {
    /// Of the models that are complete.
    done: AtomicU64,
    total: u64,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            device: "auto".to_owned(),
            places: Vec::new(),
            dtype: Dtype::Auto,
            kv_cache_dtype: KvCacheDtype::Auto,
            chat_template: TemplateChoice::default(),
            progress: None,
            on_note: None,
            on_placed: None,
            count: None,
        }
    }
}

impl fmt::Debug for OpenOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenOptions")
            .field("device", &self.device)
            .field("places", &self.places)
            .field("dtype", &self.dtype)
            .field("kv_cache_dtype", &self.kv_cache_dtype)
            .finish_non_exhaustive()
    }
}

impl OpenOptions {
    /// The best device that is found, in the type that suits it.
    pub fn new() -> Self {
        Self::default()
    }

    /// The device: auto, cpu, cuda, cuda:N or wgpu; or several, as in `cuda:0,cuda:1`, on which layers are placed by memory.
    #[must_use]
    pub fn device(mut self, device: impl Into<String>) -> Self {
        self.device = device.into();
        self
    }

    /// The devices of one model, whatever [`device`](Self::device) says of the others.
    ///
    /// ```
    /// let options = ivl::OpenOptions::new().device("cpu").place("value=cpu".parse()?);
    /// # Ok::<(), ivl::Error>(())
    /// ```
    #[must_use]
    pub fn place(mut self, place: ModelDevices) -> Self {
        self.places.push(place);
        self
    }

    /// The type of the weights.
    #[must_use]
    pub fn dtype(mut self, dtype: Dtype) -> Self {
        self.dtype = dtype;
        self
    }

    /// The type in which the cache keeps keys and values.
    #[must_use]
    pub fn kv_cache_dtype(mut self, dtype: KvCacheDtype) -> Self {
        self.kv_cache_dtype = dtype;
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

    /// Called with the devices of each model before its weights are loaded.
    #[must_use]
    pub fn on_placed(mut self, on_placed: impl Fn(PlacedModel<'_>) + Send + Sync + 'static) -> Self {
        self.on_placed = Some(Arc::new(on_placed));
        self
    }

    /// The same with a progress that counts the numbers of several models as one.
    pub(crate) fn counting(&self, total: u64) -> Self {
        Self { count: Some(Arc::new(LoadCount { done: AtomicU64::new(0), total })), ..self.clone() }
    }

    /// The same for models that are trained against: where files hold blocks, `auto` is f32 on a CPU, in which no product rounds.
    pub(crate) fn for_training(&self) -> Self {
        let on_cpu = self.device.split(',').all(is_cpu);
        let dtype = if on_cpu && self.dtype == Dtype::Auto { Dtype::F32 } else { self.dtype };
        Self { dtype, ..self.clone() }
    }

    /// The same without callbacks.
    pub(crate) fn quiet(&self) -> Self {
        Self { progress: None, on_note: None, on_placed: None, ..self.clone() }
    }

    /// The device and how weights are kept on it, for what uses one device.
    ///
    /// # Errors
    /// As [`Placement::new`]; [`Error::Settings`] if models have devices of their own, or the cache a type.
    pub fn placement(&self) -> Result<Placement> {
        self.refuse_kv_cache()?;
        self.one_device()
    }

    /// The same for models with a cache.
    pub(crate) fn one_device(&self) -> Result<Placement> {
        self.refuse_places()?;
        Placement::new(&self.device, self.dtype)
    }

    /// The placements of a training run, of which each device has whole models.
    pub(crate) fn training_placements(&self) -> Result<Vec<Placement>> {
        self.refuse_places()?;
        self.refuse_kv_cache()?;
        Placement::several(&self.device, self.dtype)
    }

    /// The same without devices for single models.
    pub(crate) fn without_places(&self) -> Self {
        Self { places: Vec::new(), ..self.clone() }
    }

    fn refuse_places(&self) -> Result<()> {
        let Some(ModelDevices { model, devices }) = self.places.first() else { return Ok(()) };
        let reason = format!(
            "devices are named for `{model}` (`{devices}`), which is for reading and writing texts with a model; training, speed \
             and parity take a device for all models"
        );
        Err(Error::Settings { reason })
    }

    /// Refuses a type of the cache where there is no cache.
    fn refuse_kv_cache(&self) -> Result<()> {
        if self.kv_cache_dtype == KvCacheDtype::Auto {
            return Ok(());
        }
        let reason = format!(
            "the cache of keys and values is {}, expected auto: training, exports and parity read texts with keys and values in the type of the weights",
            self.kv_cache_dtype.name()
        );
        Err(Error::Settings { reason })
    }

    /// Places models by the device list and the places.
    ///
    /// # Errors
    /// As [`Planner::new`].
    pub(crate) fn planner(&self) -> Result<Planner> {
        Planner::new(&self.device, &self.places, self.dtype)
    }

    /// Loads the weights of a checkpoint.
    pub(crate) fn load(&self, checkpoint: &Checkpoint, placement: &ModelPlacement) -> Result<Transformer> {
        self.kv_cache_dtype.check(&placement.weights())?;
        let model = checkpoint.path().display().to_string();
        if let Some(on_placed) = &self.on_placed {
            let config = checkpoint.config();
            on_placed(PlacedModel::new(&model, placement, config.layers.len(), config.embedding.tied));
        }
        if let Some(on_note) = &self.on_note {
            checkpoint.notes()?.iter().for_each(|note| on_note(note));
        }
        let count = self.count.as_deref();
        let before = count.map_or(0, |count| count.done.load(Ordering::Relaxed));
        let mut show = |progress: ivl_models::Progress| {
            if let Some(on_progress) = &self.progress {
                // A model that was not counted ahead is counted by itself.
                let total = count.map_or(0, |count| count.total).max(before + progress.total);
                on_progress(LoadProgress { model: &model, done: before + progress.done, total });
            }
        };
        let loaded = checkpoint.load_on(&placement.device_map(), Some(&mut show));
        if let Some(count) = count {
            count.done.fetch_add(checkpoint.num_parameters(), Ordering::Relaxed);
        }
        let net = loaded.map_err(|error| Error::load(model.clone())(error.into()))?;
        Ok(self.kv_cache_dtype.apply(net))
    }
}

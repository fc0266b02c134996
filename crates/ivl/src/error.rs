//! The errors of this crate.

use std::path::PathBuf;

use ivl_models::FileError;

/// The errors of this crate; those of the crates below pass through.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A name that is neither a directory, nor a file, nor a name on the hub.
    #[error(
        "`{name}` is neither a directory, a GGUF file nor a hub name (org/name, org/name@revision or org/name:Q4_K_M)"
    )]
    UnknownModel {
        /// The name.
        name: String,
    },
    /// A name that is neither a model nor a built-in shape.
    #[error("`{name}` is neither a model nor one of the built-in shapes {}", expected.join(", "))]
    UnknownShape {
        /// The name.
        name: String,
        /// The shapes.
        expected: Vec<&'static str>,
    },
    /// A directory in which a training run has not ended.
    #[error("`{}` holds an unfinished training run; resume it first", path.display())]
    UnfinishedRun {
        /// The directory.
        path: PathBuf,
    },
    /// A checkpoint with quantised weights, all of which would be trained.
    #[error(
        "`{name}` has quantised weights ({quantization}), and a value that starts from it would train all of them; train adapters on \
             them (`value.lora`), or start from a copy that is converted to floats"
    )]
    QuantizedValue {
        /// The checkpoint.
        name: String,
        /// Its format.
        quantization: String,
    },
    /// The client of the hub cannot start.
    #[error("cannot start the hub client")]
    HubClient(#[source] Box<hf_hub::HFError>),
    /// A model that neither the hub nor its cache has.
    #[error(
        "cannot get `{name}` at revision `{revision}` from the hub or its cache (is the name right? a private model \
         needs HF_TOKEN; HF_ENDPOINT names another hub)"
    )]
    Hub {
        /// `org/name`.
        name: String,
        /// Branch, tag or commit.
        revision: String,
        /// The reason.
        #[source]
        source: Box<hf_hub::HFError>,
    },
    /// A repository on the hub in which no single GGUF file is meant.
    #[error("{}", no_gguf(name, wanted.as_deref(), found))]
    HubGguf {
        /// `org/name`.
        name: String,
        /// The quantisation or file that is wanted.
        wanted: Option<String>,
        /// The files that fit, or all if none does.
        found: Vec<String>,
    },
    /// A format that models are not written in.
    #[error(
        "the format is `{got}`, expected gguf:TYPE (such as gguf:Q8_0 or gguf:F16), hf, hf:F16 or hf:BF16"
    )]
    UnknownFormat {
        /// The name.
        got: String,
    },
    /// A place that is taken.
    #[error("`{}` is there already; name another place, or move it away", path.display())]
    Exists {
        /// The place.
        path: PathBuf,
    },
    /// A name that no device has.
    #[error("the device is `{got}`, expected auto, cpu, cuda, cuda:N or wgpu")]
    UnknownDevice {
        /// The name.
        got: String,
    },
    /// Several devices where one is meant.
    #[error(
        "the device is `{got}`, expected one: several are for training, and for reading and writing texts with a model"
    )]
    SeveralDevices {
        /// The names.
        got: String,
    },
    /// Devices that the layers of a model cannot be placed on.
    #[error("the device list is `{list}`: {reason}")]
    DeviceList {
        /// The list.
        list: String,
        /// The fault, and the allowed devices.
        reason: String,
    },
    /// Devices of a model that cannot be read.
    #[error(
        "the place is `{got}`, expected MODEL=DEVICES such as base=cuda:0,cuda:1, and one place for each model"
    )]
    InvalidPlace {
        /// The text.
        got: String,
    },
    /// Devices for a model that is not there.
    #[error("devices are named for `{model}`, expected one of {}", known.join(", "))]
    UnknownPlace {
        /// The name.
        model: String,
        /// The models that can be placed.
        known: Vec<String>,
    },
    /// A device that this build or this machine does not have.
    #[error("{reason}")]
    NoDevice {
        /// The missing part.
        reason: String,
    },
    /// A device that does not compute in a type.
    #[error("`{device}` does not compute in {dtype}, expected {expected}{}", if dtype.starts_with("int") { format!("; {dtype} is for the CPU") } else { String::new() })]
    UnsupportedDtype {
        /// The device.
        device: String,
        /// The requested type.
        dtype: &'static str,
        /// The types that it computes in.
        expected: String,
    },
    /// A type of the cache that does not exist.
    #[error("the type of the cache is `{got}`, expected auto, f32, f16 or int8")]
    UnknownKvCache {
        /// The name.
        got: String,
    },
    /// A type of the cache that tensors of a device do not have.
    #[error(
        "the cache keeps keys and values of layers on a GPU in the type of their weights, {weights}, expected auto, got {dtype}; \
         int8, f16 and f32 are for models on the CPU"
    )]
    UnsupportedKvCache {
        /// The requested type.
        dtype: &'static str,
        /// The type of the weights.
        weights: &'static str,
    },
    /// A model that cannot be loaded.
    #[error("cannot load `{name}`")]
    Load {
        /// The model.
        name: String,
        /// The reason.
        #[source]
        source: Box<Error>,
    },
    /// Adapters whose model is not to be had.
    #[error("`{value}` holds adapters on `{base}`")]
    AdapterBase {
        /// The directory of the adapters.
        value: String,
        /// The model that they were trained on.
        base: String,
        /// The reason.
        #[source]
        source: Box<Error>,
    },
    /// Something is wrong with one of several bases.
    #[error("the base `{name}`")]
    Base {
        /// The base.
        name: String,
        /// The reason.
        #[source]
        source: Box<Error>,
    },
    /// Something is wrong with a setting of a configuration.
    #[error("in `{key}`")]
    Setting {
        /// The key.
        key: &'static str,
        /// The reason.
        #[source]
        source: Box<Error>,
    },
    /// Settings that do not go together.
    #[error("{reason}")]
    Settings {
        /// Which, and what to do.
        reason: String,
    },
    /// A gate where there is nothing to gate.
    #[error("the gate {gate} skips values, but no value is attached")]
    GateWithoutValue {
        /// The gate.
        gate: ivl_core::fusion::Gate,
    },
    /// A gate before a value that has to read every position.
    #[error("the gate {gate} needs residual values: {reason}")]
    GatedValue {
        /// The gate.
        gate: ivl_core::fusion::Gate,
        /// Which value cannot be gated, and why.
        reason: String,
    },
    /// What cannot be taken as the difference that adapters make.
    #[error("`{value}` cannot be taken as a difference of adapters: {reason}")]
    AdapterDifference {
        /// The value.
        value: String,
        /// Why.
        reason: &'static str,
    },
    /// A learned gate of a value whose logits are not added to the base's.
    #[error(
        "a learned gate cannot multiply `{value}`: {reason}. If the value's card has a gate, take it out"
    )]
    LearnedGate {
        /// The value.
        value: String,
        /// Why, and the values that it can multiply.
        reason: &'static str,
    },
    /// A value whose card cannot be written.
    #[error(
        "`{value}` has no card to write a gate to, expected a directory with an ivl.json, or a GGUF file of a value; copy a value \
         from the hub to a directory of your own first"
    )]
    NoCard {
        /// The value.
        value: String,
    },
    /// A gate where every token needs its values.
    #[error("the gate {gate} does not work with drafts or a server: both need the values at every token")]
    Gated {
        /// The gate.
        gate: ivl_core::fusion::Gate,
    },
    /// A name that no attached value has.
    #[error("no value is called `{name}`; attached: {}", if attached.is_empty() { "none".to_owned() } else { attached.join(", ") })]
    UnknownValue {
        /// The name.
        name: String,
        /// The names of all attached values.
        attached: Vec<String>,
    },
    /// A method of alignment that does not exist.
    #[error("`{name}` is not a method; expected one of {}", expected.join(", "))]
    UnknownMethod {
        /// The name.
        name: String,
        /// All methods.
        expected: Vec<&'static str>,
    },
    /// A method that needs a corpus, without one.
    #[error("the method {method} counts tokens in a corpus: make a map file with it first")]
    MethodNeedsCorpus {
        /// The method.
        method: ivl_align::Method,
    },
    /// A map that cannot be used.
    #[error("the map `{}`", path.display())]
    Map {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: Box<Error>,
    },
    /// No map leads from a value to a base.
    #[error("no map leads from the value's vocabulary to that of `{base}`")]
    NoMap {
        /// The base.
        base: String,
        /// The error of the last map.
        #[source]
        source: Box<Error>,
    },
    /// A text that a value cannot read in its own tokens.
    #[error("the value `{value}` cannot read the text")]
    Unreadable {
        /// The value.
        value: String,
        /// The reason.
        #[source]
        source: Box<ivl_core::Error>,
    },
    /// A prompt without text.
    #[error("the prompt is empty")]
    EmptyPrompt,
    /// Neither base nor value has a chat template.
    #[error(
        "neither `{}` nor a value has a chat template (chat_template.jinja or tokenizer_config.json)", base.display()
    )]
    NoChatTemplate {
        /// The base.
        base: PathBuf,
    },
    /// A draft model that does not fit.
    #[error("cannot draft with `{name}`")]
    Draft {
        /// The model.
        name: String,
        /// The reason.
        #[source]
        source: Box<ivl_core::Error>,
    },
    /// Something is wrong with one of several texts.
    #[error("{place}")]
    At {
        /// Where.
        place: String,
        /// The reason.
        #[source]
        source: Box<Error>,
    },
    /// A line of a file that cannot be used.
    #[error("line {line} of `{}` {reason}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// The reason.
        reason: String,
    },
    /// A file without anything to work on.
    #[error("`{}` {reason}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// Two vocabularies that cannot be aligned.
    #[error("cannot align `{base}` with `{value}`")]
    Alignment {
        /// The base.
        base: String,
        /// The value.
        value: String,
        /// The reason.
        #[source]
        source: Box<ivl_align::Error>,
    },
    /// A corpus of which no text can be used.
    #[error("no text of the corpus can be used{}", if source.is_none() { ": it holds no text" } else { "" })]
    UselessCorpus {
        /// The error of the first text.
        #[source]
        source: Option<Box<ivl_core::Error>>,
    },
    /// A task whose answers have to be written somewhere.
    #[error("`{}` writes answers for another harness, which needs an output directory", path.display())]
    NeedsOutput {
        /// The task's file.
        path: PathBuf,
    },
    /// A task that cannot be run.
    #[error("cannot run the task `{}`", path.display())]
    Task {
        /// The task's file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: Box<Error>,
    },
    /// A run that was stopped on purpose.
    #[error("stopped after step {steps} of {total}; the checkpoint is written")]
    Interrupted {
        /// Steps done.
        steps: usize,
        /// Steps planned.
        total: usize,
    },
    /// The result cannot be written.
    #[error("cannot write the result")]
    Output(#[source] std::io::Error),
    /// A device that failed at its work.
    #[error("the device failed")]
    Device(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// From the fusion.
    #[error(transparent)]
    Core(Box<ivl_core::Error>),
    /// From the checkpoints.
    #[error(transparent)]
    Models(#[from] ivl_models::Error),
    /// From files that were read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// From the tokenizers.
    #[error(transparent)]
    Tokenizer(#[from] ivl_models::TokenizerError),
    /// From the chat templates.
    #[error(transparent)]
    Chat(#[from] ivl_models::ChatError),
    /// From the alignment of vocabularies.
    #[error(transparent)]
    Align(#[from] ivl_align::Error),
    /// From the training.
    #[error(transparent)]
    Train(Box<ivl_train::Error>),
    /// From the evaluation.
    #[error(transparent)]
    Eval(#[from] ivl_eval::Error),
    /// From the server.
    #[error(transparent)]
    Serve(#[from] ivl_serve::Error),
}

impl From<ivl_core::Error> for Error {
    fn from(error: ivl_core::Error) -> Self {
        Self::Core(Box::new(error))
    }
}

impl From<ivl_train::Error> for Error {
    fn from(error: ivl_train::Error) -> Self {
        Self::Train(Box::new(error))
    }
}

fn no_gguf(name: &str, wanted: Option<&str>, found: &[String]) -> String {
    let files = found.iter().map(|file| format!("`{file}`")).collect::<Vec<_>>().join(", ");
    match (wanted, found.is_empty()) {
        (_, true) => format!("`{name}` holds no weights that ivl reads: no safetensors and no GGUF file"),
        (None, false) => {
            format!("`{name}` holds several GGUF files, expected one: {files}; name one as {name}:FILE")
        }
        (Some(wanted), false) => {
            format!(
                "`{name}:{wanted}` is not one GGUF file of `{name}`, expected one of {files}; name one as {name}:FILE"
            )
        }
    }
}

/// Results of this crate.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of the file system.
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| FileError::Io { action, path, source }.into()
    }

    /// Says which base it is about.
    pub(crate) fn base(name: &str) -> impl FnOnce(Self) -> Self {
        move |source| Self::Base { name: name.to_owned(), source: Box::new(source) }
    }

    /// Says which model could not be loaded.
    pub(crate) fn load(name: String) -> impl FnOnce(Self) -> Self {
        move |source| Self::Load { name, source: Box::new(source) }
    }
}

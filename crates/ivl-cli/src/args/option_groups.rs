//! Options that several verbs share.

use clap::ValueEnum;

#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Common options")]
pub struct Common {
    /// Device to compute on: auto, cpu, cuda, cuda:N or wgpu. A list, as in cuda:0,cuda:1, places the layers of each base on
    /// several devices by their memory; `train` distributes micro-batches over them
    #[arg(long, global = true, default_value = "auto")]
    pub device: String,
    /// Devices of one model, in the place of --device: MODEL is `base`, `value` (all values) or the name of a value, DEVICES
    /// is a list as above, with N@ before each device for N layers, as in base=20@cuda:0,12@cuda:1; may be repeated
    #[arg(long, global = true, value_name = "MODEL=DEVICES")]
    pub place: Vec<ivl::ModelDevices>,
    /// Type of the weights. auto is what the files hold on a CPU (quantised GGUF files are multiplied as they are, all else in
    /// f32), bf16 on GPUs that compute in it, else f32; int8 and int4 (32 weights share a scale) work on the CPU only
    #[arg(long, global = true, value_enum, default_value_t = Dtype::Auto)]
    pub dtype: Dtype,
    /// Type in which the cache keeps keys and values, on a CPU: auto, f32, f16 or int8. auto is f16 where weights are quantised,
    /// else f32; int8 (32 numbers share a scale) takes half the memory of f16, and changes answers slightly
    #[arg(long, global = true, value_name = "DTYPE", default_value = "auto")]
    pub kv_cache_dtype: ivl::KvCacheDtype,
    /// Seed of all random numbers (default: the configuration's for `train`, 1 for `demo`, 42 for `transfer`, else 0)
    #[arg(long, global = true)]
    pub seed: Option<u64>,
    /// Print one JSON object, or JSON lines, on standard output
    #[arg(long, global = true)]
    pub json: bool,
    /// Print more details on standard error
    #[arg(short, long, global = true)]
    pub verbose: bool,
    /// Print no progress bars and no notes
    #[arg(long, global = true)]
    pub quiet: bool,
}

impl Common {
    /// The same without notes.
    pub fn quiet(&self) -> Self {
        Self { quiet: true, ..self.clone() }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Dtype {
    Auto,
    F32,
    F16,
    Bf16,
    Int8,
    Int4,
}

/// A base, and values to plug into it.
#[derive(Debug, clap::Args)]
pub struct Models {
    /// Directory in Hugging Face layout, or hub name `org/name[@revision]`
    #[arg(long, value_name = "MODEL")]
    pub base: String,
    /// Value to add, and its weight alpha (default: the one in the value's card, else 1); may be repeated
    #[arg(long, value_name = "VALUE[:ALPHA]")]
    pub value: Vec<String>,
    #[command(flatten)]
    pub template: Template,
    #[command(flatten)]
    pub attach: AttachOptions,
}

/// Which chat template renders messages.
#[derive(Debug, clap::Args)]
pub struct Template {
    /// Chat template: `value` (that of the first value that has one, else the base's), `base`, or a Jinja file
    #[arg(long, value_name = "value|base|FILE", default_value = "value")]
    pub chat_template: String,
}

/// How values are attached.
#[derive(Debug, clap::Args)]
pub struct AttachOptions {
    /// Take every value as the adapters of a fine-tuned model, and add the difference that they make: the logits with them minus
    /// those without (proxy tuning), in one pass of two rows
    #[arg(long)]
    pub adapter_difference: bool,
    /// Map for a value with another vocabulary: a file written by `ivl align`, or a method that needs no corpus (exact,
    /// prefix, edit-distance, hybrid); may be repeated
    #[arg(long, value_name = "FILE|METHOD", help_heading = "Other vocabularies")]
    pub map: Vec<String>,
    /// Fuse values with another vocabulary exactly, over bytes; MODEL is the base that the value was trained against
    #[arg(long, value_name = "MODEL", help_heading = "Other vocabularies")]
    pub byte_fusion: Option<String>,
    /// Byte fusion: look ahead until the tokens that are not fully evaluated have at most this total probability
    #[arg(
        long,
        value_name = "P",
        default_value_t = 0.01,
        requires = "byte_fusion",
        help_heading = "Other vocabularies"
    )]
    pub unseen: f64,
    /// Byte fusion: maximum number of token sequences to look ahead after, per step
    #[arg(
        long,
        value_name = "N",
        default_value_t = 64,
        requires = "byte_fusion",
        help_heading = "Other vocabularies"
    )]
    pub branches: usize,
}

/// Speculative decoding: changes the speed, never the tokens.
#[derive(Debug, clap::Args)]
pub struct Drafts {
    /// Draft tokens with a smaller base of the same vocabulary (plus the same values), or from what followed the last N
    /// tokens (default 3) earlier in the text
    #[arg(long, value_name = "MODEL|prompt-lookup[:N]", help_heading = "Speculative decoding")]
    pub draft: Option<String>,
    /// Type of the draft model's weights; it changes no token. auto is int8 on a CPU, or what a quantised GGUF file
    /// holds, and --dtype on a GPU
    #[arg(
        long,
        value_name = "DTYPE",
        value_enum,
        default_value_t = Dtype::Auto,
        hide_possible_values = true,
        requires = "draft",
        help_heading = "Speculative decoding"
    )]
    pub draft_dtype: Dtype,
    /// Draft without the values
    #[arg(long, requires = "draft", help_heading = "Speculative decoding")]
    pub draft_alone: bool,
    /// Maximum number of tokens drafted per round; the actual number adapts to acceptance rate and timing
    #[arg(
        long,
        value_name = "N",
        default_value_t = 16,
        requires = "draft",
        help_heading = "Speculative decoding"
    )]
    pub draft_tokens: usize,
}

/// How an answer is decoded.
#[derive(Debug, clap::Args)]
pub struct Decoding {
    /// Maximum number of new tokens
    #[arg(long, value_name = "N", default_value_t = 128)]
    pub max_new_tokens: usize,
    /// Sampling temperature; 0 decodes greedily (default: 0; for `chat`, that of the base's generation_config.json)
    #[arg(long, value_name = "T")]
    pub temperature: Option<f64>,
    /// Sample from the K most probable tokens; 0 keeps all (default: 0; for `chat` as above)
    #[arg(long, value_name = "K")]
    pub top_k: Option<usize>,
    /// Sample from the smallest set of most probable tokens whose probabilities sum to P (default: 1; for `chat` as
    /// above)
    #[arg(long, value_name = "P")]
    pub top_p: Option<f64>,
    /// Sample from tokens at least P times as probable as the most probable one (default: 0; for `chat` as above)
    #[arg(long, value_name = "P")]
    pub min_p: Option<f64>,
    /// Divide the positive logits of tokens in prompt and answer by R (multiply negative ones); 1 is off (default: 1; for
    /// `chat` as above)
    #[arg(long, value_name = "R")]
    pub repetition_penalty: Option<f64>,
    /// Subtract X from a token's logit for every time it occurs in the answer
    #[arg(long, value_name = "X", default_value_t = 0.0, allow_negative_numbers = true)]
    pub frequency_penalty: f64,
    /// Subtract X once from the logit of every token that occurs in the answer
    #[arg(long, value_name = "X", default_value_t = 0.0, allow_negative_numbers = true)]
    pub presence_penalty: f64,
    /// Add X to the logit of token ID; may be repeated
    #[arg(long, value_name = "ID=X", allow_hyphen_values = true)]
    pub logit_bias: Vec<String>,
    /// Stop before this string; may be repeated
    #[arg(long, value_name = "TEXT")]
    pub stop: Vec<String>,
    /// Continue after an end-of-text token
    #[arg(long)]
    pub ignore_eos: bool,
}

/// When colours are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Color {
    Auto,
    Always,
    Never,
}

//! The command line as clap reads it. What it means is decided in `compose.rs` and the commands.
#![allow(rustdoc::broken_intra_doc_links, reason = "clap shows these comments as they are")]

use std::path::PathBuf;

use clap::{ArgGroup, Parser, Subcommand, ValueEnum};
use ivl_core::fusion::Gate;

/// Train a value network once on a small base, and plug it into other bases.
#[derive(Debug, Parser)]
#[command(name = "ivl", version, max_term_width = 100)]
pub struct Args {
    #[command(subcommand)]
    pub command: Command,
    #[command(flatten)]
    pub common: Common,
}

#[derive(Debug, Clone, clap::Args)]
pub struct Common {
    /// Where to compute: auto, cpu, cuda, cuda:N or wgpu; for `train` several, as in cuda:0,cuda:1
    #[arg(long, global = true, default_value = "auto", help_heading = "Common options")]
    pub device: String,
    /// Type of the weights; auto is bf16 on a GPU that computes in it, else f32; int8 (groups of 32 with a scale) is for the CPU
    #[arg(long, global = true, value_enum, default_value_t = Dtype::Auto, help_heading = "Common options")]
    pub dtype: Dtype,
    /// Seed of everything that is drawn
    #[arg(long, global = true, help_heading = "Common options")]
    pub seed: Option<u64>,
    /// One JSON object, or JSON lines, on standard output
    #[arg(long, global = true, help_heading = "Common options")]
    pub json: bool,
    /// Say more on standard error
    #[arg(short, long, global = true, help_heading = "Common options")]
    pub verbose: bool,
    /// No progress bars and no notes
    #[arg(long, global = true, help_heading = "Common options")]
    pub quiet: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Dtype {
    Auto,
    F32,
    F16,
    Bf16,
    Int8,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Train(Train),
    Data(Data),
    Generate(Generate),
    Chat(Chat),
    Score(Score),
    Explain(Explain),
    Align(Align),
    Eval(Eval),
    Inspect(Inspect),
    Bench(Bench),
    Parity(Parity),
    Serve(Serve),
    Transfer(Transfer),
    Demo(Demo),
}

/// Train a value against a frozen base, or a model by itself, from one TOML
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  ivl train examples/first-value/train.toml --set optimizer.learning_rate=1e-3\n\n\
    The trained value is written to `output` as an ordinary Hugging Face directory with a card, ivl.json."
)]
pub struct Train {
    /// The run; see docs/training.md for every key
    pub config: PathBuf,
    /// Replace a key of the TOML; the value is read as TOML, else as a string
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Go on from the last complete checkpoint
    #[arg(long)]
    pub resume: bool,
}

/// Look at the data of a run
#[derive(Debug, clap::Args)]
pub struct Data {
    #[command(subcommand)]
    pub command: DataCommand,
}

#[derive(Debug, Subcommand)]
pub enum DataCommand {
    Preview(Preview),
}

/// Show what a run would learn from: rendered examples, learnt tokens apart, and statistics of lengths and batches
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  ivl data preview examples/first-value/train.toml -n 2\n\n\
    With --json one object a row with token ids and mask, and one with the statistics.")]
pub struct Preview {
    /// The run; see docs/training.md for every key
    pub config: PathBuf,
    /// Rows of each source
    #[arg(short, value_name = "N", default_value_t = 3)]
    pub number: usize,
    /// Replace a key of the TOML; the value is read as TOML, else as a string
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// The held-out data instead
    #[arg(long)]
    pub eval: bool,
}

/// A base, and values to plug into it.
#[derive(Debug, clap::Args)]
pub struct Models {
    /// Directory in Hugging Face layout, or hub name `org/name[@revision]`
    #[arg(long, value_name = "MODEL")]
    pub base: String,
    /// A value and its weight (the card's, else 1); may be repeated
    #[arg(long, value_name = "VALUE[:ALPHA]")]
    pub value: Vec<String>,
    #[command(flatten)]
    pub vocabularies: Vocabularies,
}

/// How values of another vocabulary are attached.
#[derive(Debug, clap::Args)]
pub struct Vocabularies {
    /// For a value of another vocabulary: a map made by `ivl align`, or a method that needs no corpus (exact, prefix,
    /// edit-distance, hybrid); may be repeated
    #[arg(long, value_name = "FILE|METHOD", help_heading = "Other vocabularies")]
    pub map: Vec<String>,
    /// Fuse such values over bytes, exactly: MODEL is the base that the value was trained on
    #[arg(long, value_name = "MODEL", help_heading = "Other vocabularies")]
    pub byte_fusion: Option<String>,
    /// Byte fusion looks ahead until tokens not seen to their end have at most this probability
    #[arg(long, value_name = "P", default_value_t = 0.01, help_heading = "Other vocabularies")]
    pub unseen: f64,
    /// Byte fusion looks ahead after at most this many token sequences in a step
    #[arg(long, value_name = "N", default_value_t = 64, help_heading = "Other vocabularies")]
    pub branches: usize,
}

/// How tokens are guessed ahead. What is written stays the same; it is written faster.
#[derive(Debug, clap::Args)]
pub struct Drafts {
    /// Guess with a smaller base of the same vocabulary and the same values, or from what the text repeats: the N (3)
    /// last tokens
    #[arg(long, value_name = "MODEL|prompt-lookup[:N]", help_heading = "Speculative decoding")]
    pub draft: Option<String>,
    /// Type of the draft model's weights, which changes no token; auto is int8 on a CPU and that of the others elsewhere
    #[arg(
        long,
        value_name = "DTYPE",
        value_enum,
        default_value_t = Dtype::Auto,
        hide_possible_values = true,
        help_heading = "Speculative decoding"
    )]
    pub draft_dtype: Dtype,
    /// The draft model guesses without the values
    #[arg(long, requires = "draft", help_heading = "Speculative decoding")]
    pub draft_alone: bool,
    /// Most tokens guessed at once; as many as pay, by acceptance and time
    #[arg(long, value_name = "N", default_value_t = 16, help_heading = "Speculative decoding")]
    pub draft_tokens: usize,
}

/// How an answer is written.
#[derive(Debug, clap::Args)]
pub struct Decoding {
    /// Most new tokens
    #[arg(long, value_name = "N", default_value_t = 128)]
    pub max_new_tokens: usize,
    /// 0 is greedy
    #[arg(long, value_name = "T", default_value_t = 0.0)]
    pub temperature: f64,
    /// Keep the K most probable tokens; 0 keeps all
    #[arg(long, value_name = "K", default_value_t = 0)]
    pub top_k: usize,
    /// Keep the most probable tokens that reach P together
    #[arg(long, value_name = "P", default_value_t = 1.0)]
    pub top_p: f64,
    /// Keep tokens at least P times as probable as the first
    #[arg(long, value_name = "P", default_value_t = 0.0)]
    pub min_p: f64,
    /// Make tokens of prompt and answer less probable; 1 is off
    #[arg(long, value_name = "R", default_value_t = 1.0)]
    pub repetition_penalty: f64,
    /// Subtracted for every time a token stands in the answer
    #[arg(long, value_name = "X", default_value_t = 0.0, allow_negative_numbers = true)]
    pub frequency_penalty: f64,
    /// Subtracted once if a token stands in the answer
    #[arg(long, value_name = "X", default_value_t = 0.0, allow_negative_numbers = true)]
    pub presence_penalty: f64,
    /// Added to the logit of a token; may be repeated
    #[arg(long, value_name = "ID=X", allow_hyphen_values = true)]
    pub logit_bias: Vec<String>,
    /// End before this string; may be repeated
    #[arg(long, value_name = "TEXT")]
    pub stop: Vec<String>,
    /// Go on after the end-of-text token
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

fn gate(text: &str) -> Result<Gate, String> {
    text.parse().map_err(|error: ivl_core::Error| error.to_string())
}

/// Continue a prompt with a base and any number of values
#[derive(Debug, clap::Args)]
#[command(
    group = ArgGroup::new("input").required(true).args(["prompt", "prompt_file", "messages"]),
    after_help = "Example:\n  ivl generate --base models/large --value runs/value:0.8 --prompt \"Once upon a time\""
)]
pub struct Generate {
    #[command(flatten)]
    pub models: Models,
    /// Text to continue
    #[arg(long)]
    pub prompt: Option<String>,
    /// File with the text to continue
    #[arg(long, value_name = "FILE")]
    pub prompt_file: Option<PathBuf>,
    /// JSON file with a list of messages, rendered by the chat template
    #[arg(long, value_name = "FILE")]
    pub messages: Option<PathBuf>,
    #[command(flatten)]
    pub decoding: Decoding,
    /// Ask the values only where the base is unsure, or by a schedule: entropy>NATS, margin<PROBABILITY, every=TOKENS or
    /// first=TOKENS (quoted, or with `=` for > and <)
    #[arg(long, value_name = "GATE", value_parser = gate, conflicts_with = "draft")]
    pub gate: Option<Gate>,
    /// Number of answers
    #[arg(long, value_name = "K", default_value_t = 1)]
    pub n: usize,
    #[command(flatten)]
    pub drafts: Drafts,
}

/// Log-likelihood of texts, token by token
#[derive(Debug, clap::Args)]
#[command(
    group = ArgGroup::new("input").required(true).args(["text", "file"]),
    after_help = "Example:\n  ivl score --base models/large --value runs/value --text \"The sky is blue.\" --json\n\n\
        A file holds one JSON object with `text` (or one JSON string) a line; one result is printed for each."
)]
pub struct Score {
    #[command(flatten)]
    pub models: Models,
    /// The text
    #[arg(long)]
    pub text: Option<String>,
    /// JSONL file of texts
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Texts in a forward pass
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub batch_size: usize,
}

/// Measure a base with any number of values: multiple choice, perplexity, exact match, instruction following
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  ivl eval --base models/large --value runs/value --tasks tasks/first-value.toml\n\n\
        Tasks are TOML files with rows of JSON; prompts, scores and figures are those of lm-evaluation-harness. With \
        --output every sample is logged, and a run that was cut off goes on when it is called again. See \
        docs/evaluation.md."
)]
pub struct Eval {
    #[command(flatten)]
    pub models: Models,
    /// Task files
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    pub tasks: Vec<PathBuf>,
    /// The first N rows of each task alone
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// Examples before each prompt (the task's own number, unless given)
    #[arg(long, value_name = "N")]
    pub num_fewshot: Option<usize>,
    /// Sequences in a forward pass
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub batch_size: usize,
    /// Most tokens that are read (what the model can, unless given)
    #[arg(long, value_name = "N")]
    pub max_length: Option<usize>,
    /// Most new tokens of an answer (the task's own number, unless given)
    #[arg(long, value_name = "N")]
    pub max_gen_toks: Option<usize>,
    /// Ask in turns of the model's chat template
    #[arg(long)]
    pub apply_chat_template: bool,
    /// Directory for the samples, answers for other harnesses, and the results
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,
}

/// Show what values change in a text, token by token
#[derive(Debug, clap::Args)]
#[command(
    group = ArgGroup::new("input").required(true).args(["text", "file", "prompt", "messages"]),
    after_help = "Example:\n  ivl explain --base models/large --value runs/value --prompt \"Question: ...\" --html answer.html\n\n\
        Blue tokens are more probable with the values, orange ones less; where the most probable token is another one, \
        there is a line. With several values each one's own part is told, and how two agree. docs/explain.md says what \
        the figures are."
)]
pub struct Explain {
    #[command(flatten)]
    pub models: Models,
    /// Text to explain
    #[arg(long)]
    pub text: Option<String>,
    /// Texts or demonstrations, as `ivl train` reads them; what training would learn is explained
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Text to continue; the answer is explained
    #[arg(long)]
    pub prompt: Option<String>,
    /// JSON file with a list of messages, rendered by the chat template; the assistant's turns are explained, or the answer
    /// if the last turn is not the assistant's
    #[arg(long, value_name = "FILE")]
    pub messages: Option<PathBuf>,
    #[command(flatten)]
    pub decoding: Decoding,
    /// Write the explanation as a page of its own
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Instead of tokens: for every threshold of a gate, the passes of the values that it would save, and how often base and
    /// values would choose another token than without it
    #[arg(long, conflicts_with = "html")]
    pub gate_curve: bool,
    /// When to use colours; auto does on a terminal, unless NO_COLOR is set
    #[arg(long, value_enum, default_value_t = Color::Auto)]
    pub color: Color,
}

/// Talk with a base and any number of values
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  ivl chat --base models/large --value runs/value\n\n\
        Type /help for the commands of a conversation. Ctrl-C stops an answer, Ctrl-D leaves. Input that is not a \
        terminal is read line by line, one message each.")]
pub struct Chat {
    #[command(flatten)]
    pub models: Models,
    /// The system's message
    #[arg(long, value_name = "TEXT")]
    pub system: Option<String>,
    /// Without a chat template: messages are written into one text, line by line
    #[arg(long)]
    pub plain: bool,
    #[command(flatten)]
    pub decoding: Decoding,
    /// Ask the values only where the base is unsure, or by a schedule; see `ivl generate --help`
    #[arg(long, value_name = "GATE", value_parser = gate)]
    pub gate: Option<Gate>,
    /// When to use colours; auto does on a terminal, unless NO_COLOR is set
    #[arg(long, value_enum, default_value_t = Color::Auto)]
    pub color: Color,
}

/// Map the vocabulary of a base to that of a value of another family
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  ivl align --from models/large --to runs/value --out large-to-value.safetensors\n  \
        ivl generate --base models/large --value runs/value --map large-to-value.safetensors --prompt \"Once\"\n\n\
        A corpus is a text file, or JSONL with `text` (or one JSON string) a line. docs/vocabularies.md says what the \
        methods do."
)]
pub struct Align {
    /// The base, or a directory with its tokenizer.json
    #[arg(long, value_name = "MODEL")]
    pub from: String,
    /// The value, or a directory with its tokenizer.json
    #[arg(long, value_name = "MODEL")]
    pub to: String,
    /// exact, prefix, edit-distance, co-occurrence, co-occurrence-published or hybrid
    #[arg(long, value_name = "METHOD", default_value = "hybrid")]
    pub method: String,
    /// Texts in which tokens are counted: two methods need them, hybrid uses them, the coverage is weighted by them
    #[arg(long, value_name = "FILE")]
    pub corpus: Option<PathBuf>,
    /// Where the map is written
    #[arg(long, value_name = "MAP")]
    pub out: PathBuf,
}

/// What a model or value is: architecture, parameters, tokenizer, template, card
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  ivl inspect runs/value --json")]
pub struct Inspect {
    /// Directory in Hugging Face layout, or hub name `org/name[@revision]`
    pub model: String,
}

/// How fast a model runs here, beside what memory and arithmetic of the machine allow in the same minutes
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  ivl bench 134m --value 24m\n  ivl bench models/large --dtype int8 --json\n\n\
        24m, 134m, 1b and 7b are Llama shapes with random weights and 32,000 tokens. The floor of decoding is the time to \
        read every weight once, that of prompts and scores the time to multiply with every weight; of a fused step also the \
        base alone and the share of the weights that are its own. Each round measures its floor; the table has medians, and \
        the memory after the last round."
)]
pub struct Bench {
    /// A model, or one of the shapes 24m, 134m, 1b, 7b
    pub model: String,
    /// A value of the same vocabulary, or a shape
    #[arg(long, value_name = "VALUE")]
    pub value: Option<String>,
    /// What is measured: `fused` is decoding beside the base alone, `train` a step of the value against the model, 8 rows of
    /// --context tokens; both need --value
    #[arg(long, value_enum, value_name = "WHAT,..", value_delimiter = ',',
        default_values_t = [Measure::Fused, Measure::Decode, Measure::Prefill, Measure::Score])]
    pub measure: Vec<Measure>,
    /// Rows that are decoded together
    #[arg(long, value_name = "N,..", value_delimiter = ',', default_values_t = [1, 8, 16, 32])]
    pub rows: Vec<usize>,
    /// Tokens read before decoding
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub context: usize,
    /// Tokens decoded in a round
    #[arg(long, value_name = "N", default_value_t = 32)]
    pub tokens: usize,
    /// Tokens of a prompt, and of each of the eight texts that are scored
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub prompt: usize,
    /// Rounds of each measurement, after one that does not count
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub rounds: usize,
}

/// A measurement of `ivl bench`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Measure {
    Fused,
    Decode,
    Prefill,
    Score,
    Train,
}

/// Whether a device computes what the CPU computes: logits, and the tokens that follow
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  ivl parity models/large --device cuda --dtype f32\n\n\
        Each model reads a batch of two rows and sixteen tokens more, one by one through the cache; the reference are ivl's own \
        kernels on the CPU in f32. In f32 a logit may differ by a thousandth of the largest, and no token; in bf16 and f16 by \
        twice what the CPU differs in that type. Ends with status 1 if a model differs by more.")]
pub struct Parity {
    /// Directories in Hugging Face layout, or hub names
    #[arg(required = true, value_name = "MODEL")]
    pub models: Vec<String>,
}

/// Answer requests of the OpenAI API with a base and any number of values, and show a chat page
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  ivl serve --base models/large --value helpful=runs/value:0.8\n\n\
        Then open http://127.0.0.1:8080, or point any OpenAI client at http://127.0.0.1:8080/v1. The base and each \
        value are models by their names; see docs/serving.md.")]
pub struct Serve {
    /// Directory in Hugging Face layout, or hub name `org/name[@revision]`
    #[arg(long, value_name = "MODEL")]
    pub base: String,
    /// The name that clients call the base by (its directory's, unless given)
    #[arg(long, value_name = "ID")]
    pub name: Option<String>,
    /// A value, its name for clients, and its usual weight (the card's, else 1); may be repeated
    #[arg(long, value_name = "[ID=]VALUE[:ALPHA]")]
    pub value: Vec<String>,
    #[command(flatten)]
    pub vocabularies: Vocabularies,
    #[command(flatten)]
    pub drafts: Drafts,
    /// Address to listen on; other than loopback needs a key
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    pub host: std::net::IpAddr,
    /// Port to listen on; 0 takes a free one
    #[arg(long, default_value_t = 8080)]
    pub port: u16,
    /// A key that clients must show; may be repeated
    #[arg(long, value_name = "KEY", env = "IVL_API_KEY", hide_env_values = true)]
    pub api_key: Vec<String>,
    /// Serve other machines without a key
    #[arg(long)]
    pub open: bool,
    /// Texts written at once
    #[arg(long, value_name = "N", default_value_t = 32)]
    pub max_rows: usize,
    /// Texts written and waiting; more are refused with status 429
    #[arg(long, value_name = "N", default_value_t = 1024)]
    pub max_queue: usize,
    /// Most new tokens of a text
    #[arg(long, value_name = "N", default_value_t = 4096)]
    pub max_tokens: usize,
    /// Memory for the caches of texts being written
    #[arg(long, value_name = "MIB", default_value_t = 4096)]
    pub cache_mib: usize,
    /// Memory for the caches of earlier prompts, reused where prompts begin alike; 0 keeps none
    #[arg(long, value_name = "MIB", default_value_t = 1024)]
    pub prefix_cache_mib: usize,
    /// Seconds that requests may go on after the first signal to stop
    #[arg(long, value_name = "S", default_value_t = 60)]
    pub drain_seconds: u64,
}

/// How far a value travels: every base alone, with the value at several weights, and fine-tuned by itself
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  ivl transfer --value runs/value --bases models/small models/large --data held-out.jsonl \\\n      \
        --train-full-finetunes value.toml --out runs/transfer\n\n\
        Writes report.html, table.md, table.json and answers.jsonl to DIR, and the verdict to the value's card, ivl.json. \
        docs/transfer.md says how to read them."
)]
pub struct Transfer {
    /// The value; several directories are the same value from other seeds
    #[arg(long, value_name = "VALUE", num_args = 1.., required = true)]
    pub value: Vec<String>,
    /// Bases to plug it into
    #[arg(long, value_name = "MODEL", num_args = 1.., required = true)]
    pub bases: Vec<String>,
    /// Questions with their answers, in any format of demonstrations
    #[arg(long, value_name = "FILE")]
    pub data: PathBuf,
    /// The bases' own fine-tunings on the same demonstrations, in the order of the bases; k for each base are k seeds
    #[arg(long, value_name = "MODEL", num_args = 1.., conflicts_with = "train_full_finetunes")]
    pub full_finetunes: Vec<String>,
    /// Fine-tune every base as this training configuration says, without its base, in DIR/full
    #[arg(long, value_name = "CONFIG.toml", requires = "out")]
    pub train_full_finetunes: Option<PathBuf>,
    /// Seeds of these fine-tunings; the configuration's, unless given
    #[arg(long, value_name = "N,..", value_delimiter = ',', requires = "train_full_finetunes")]
    pub seeds: Vec<u64>,
    /// Weights of the value
    #[arg(long, value_name = "A,..", value_delimiter = ',', default_values_t = [0.5, 1.0, 1.5])]
    pub alphas: Vec<f64>,
    /// For bases of another vocabulary: a method of `ivl align` that needs no corpus, or a map file; may be repeated
    #[arg(long, value_name = "FILE|METHOD", default_values_t = [String::from("hybrid")])]
    pub map: Vec<String>,
    /// Only the first N questions
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// Read the answers only, write none: no exact match
    #[arg(long)]
    pub no_answers: bool,
    /// Leave the value's card as it is
    #[arg(long)]
    pub keep_card: bool,
    /// Where the report goes
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// See a value travel, on models that ship with ivl: train it on the smallest, plug it into the others
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  ivl demo\n\n\
        Needs no network and no GPU; a few minutes on two cores. Writes models, data, recipe, value and report.html to DIR; \
        called again, it goes on where it was stopped.")]
pub struct Demo {
    /// Where everything is written
    #[arg(long, value_name = "DIR", default_value = "runs/demo")]
    pub out: PathBuf,
    /// Train and ask less: half a minute, and rougher figures
    #[arg(long)]
    pub quick: bool,
}

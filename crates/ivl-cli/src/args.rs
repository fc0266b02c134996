//! The command line as clap reads it. What it means is decided in `models.rs` and the commands.
#![allow(rustdoc::broken_intra_doc_links, reason = "clap shows these comments as they are")]

mod gate_options;
mod option_groups;

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{ArgGroup, Parser, Subcommand, ValueEnum};
use ivl::Gate;
use ivl::serve::IpNet;

pub use self::gate_options::GateOptions;
pub use self::option_groups::{AttachOptions, Color, Common, Decoding, Drafts, Dtype, Models, Template};

/// Train a value network once on a small base, and plug it into other bases.
#[derive(Debug, Parser)]
#[command(name = "ivl", version, max_term_width = 100)]
pub struct Args {
    #[command(subcommand)]
    pub command: Command,
    #[command(flatten)]
    pub common: Common,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Train(Train),
    Data(Data),
    Distill(Distill),
    Generate(Generate),
    Chat(Chat),
    Score(Score),
    Explain(Explain),
    Gate(GateOptions),
    Align(Align),
    Eval(Eval),
    Inspect(Inspect),
    Convert(Convert),
    Bench(Bench),
    Parity(Parity),
    Serve(Serve),
    Transfer(Transfer),
    Demo(Demo),
}

/// Train a value against a frozen base, or a model without a base, from one TOML file
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  ivl train examples/first-value/train.toml --set optimizer.learning_rate=1e-3\n\n\
    The trained value is written to `output` as an ordinary Hugging Face directory with a card, ivl.json."
)]
pub struct Train {
    /// Configuration of the run; docs/training.md lists every key
    pub config: PathBuf,
    /// Replace a key of the configuration; VALUE is parsed as TOML, else taken as a string; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Continue from the last complete checkpoint
    #[arg(long)]
    pub resume: bool,
    /// Continue a run that had fewer steps.epochs or steps.max_steps, finished or not
    #[arg(long, conflicts_with = "resume")]
    pub extend: bool,
}

/// Inspect or export the data of a run
#[derive(Debug, clap::Args)]
pub struct Data {
    #[command(subcommand)]
    pub command: DataCommand,
}

#[derive(Debug, Subcommand)]
pub enum DataCommand {
    Preview(Preview),
    Export(Export),
}

/// Show what a run trains on: rendered examples with the trained tokens marked, and statistics of lengths and batches
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  ivl data preview examples/first-value/train.toml -n 2\n\n\
    --json prints one object per row, with token ids and loss mask, and one with the statistics.")]
pub struct Preview {
    /// Configuration of the run; docs/training.md lists every key
    pub config: PathBuf,
    /// Number of rows to show of each source
    #[arg(short, value_name = "N", default_value_t = 3)]
    pub number: usize,
    /// Replace a key of the configuration; VALUE is parsed as TOML, else taken as a string; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Show the held-out data instead of the training data
    #[arg(long)]
    pub eval: bool,
}

/// Write what a run trains on: tokens, loss masks and the order of the whole run, for `python -m ivl.train`
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  ivl data export examples/first-value/train.toml --out runs/export\n\n\
    docs/python.md shows how to train from it on many GPUs.")]
pub struct Export {
    /// Configuration of the run; docs/training.md lists every key
    pub config: PathBuf,
    /// Directory to write
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Replace a key of the configuration; VALUE is parsed as TOML, else taken as a string; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Replace an earlier export in the directory
    #[arg(long)]
    pub force: bool,
}

/// Distill a base and its values into one model: adapters on the base, or all of its weights
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  ivl distill --base examples/first-value/large --value runs/first-value \\\n      \
        --data examples/first-value/train.jsonl --out runs/one-model\n\n\
        The result is an ordinary Hugging Face directory, which needs no value: adapters in PEFT's layout, or with --merge or \
        --full a whole model. The same as a configuration with `objective = \"distill\"`; docs/distillation.md explains it."
)]
pub struct Distill {
    /// Directory in Hugging Face layout, GGUF file, or hub name `org/name[@revision][:QUANTISATION]`
    #[arg(long, value_name = "MODEL")]
    pub base: String,
    /// Value to distill into the base, and its weight alpha (default: the one in the value's card, else 1), which may be above
    /// 1; may be repeated
    #[arg(long, value_name = "VALUE[:ALPHA]", required = true)]
    pub value: Vec<String>,
    /// Map for a value with another vocabulary: a file written by `ivl align`, or a method that needs no corpus (exact,
    /// prefix, edit-distance, hybrid)
    #[arg(long, value_name = "FILE|METHOD")]
    pub map: Option<String>,
    /// Files with texts or demonstrations, as `ivl train` reads them; with --sample also with prompts
    #[arg(long, value_name = "FILE", num_args = 1.., required = true)]
    pub data: Vec<PathBuf>,
    /// Held-out files, on which the divergence from base and values is measured before and after training
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub eval: Vec<PathBuf>,
    /// Directory for the result
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Let base and values answer the prompts of the data by sampling, and train on their answers instead of those of the
    /// data; written to DIR/answers
    #[arg(long)]
    pub sample: bool,
    /// Maximum number of new tokens per sampled answer
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub max_new_tokens: usize,
    /// Rank of the adapters
    #[arg(long, value_name = "R", default_value_t = 16)]
    pub rank: usize,
    /// Add the adapters to the weights of the base
    #[arg(long)]
    pub merge: bool,
    /// Train all weights instead of adapters
    #[arg(long, conflicts_with_all = ["rank", "merge"])]
    pub full: bool,
    /// Set a key of the configuration, such as steps.epochs=5; VALUE is parsed as TOML, else taken as a string; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Continue an interrupted run
    #[arg(long)]
    pub resume: bool,
}

fn gate(text: &str) -> Result<Gate, String> {
    text.parse().map_err(|error: ivl::core::Error| error.to_string())
}

fn network(text: &str) -> Result<IpNet, String> {
    let address = || text.parse::<IpAddr>().map(IpNet::from);
    let parsed = text.parse().or_else(|_| address());
    parsed.map_err(|_| "expected an IP address, or a network such as 10.0.0.0/8".to_owned())
}

/// Continue a prompt with a base and any number of values
#[derive(Debug, clap::Args)]
#[command(
    group = ArgGroup::new("input").required(true).args(["prompt", "prompt_file", "messages"]),
    after_help = "Example:\n  ivl generate --base examples/first-value/large --value runs/first-value \\\n      \
        --prompt $'Question: What is the work of Mira?\\nAnswer:'"
)]
pub struct Generate {
    #[command(flatten)]
    pub models: Models,
    /// Text to continue
    #[arg(long)]
    pub prompt: Option<String>,
    /// File whose text is continued
    #[arg(long, value_name = "FILE")]
    pub prompt_file: Option<PathBuf>,
    /// JSON file with a list of messages, which the chat template renders
    #[arg(long, value_name = "FILE")]
    pub messages: Option<PathBuf>,
    #[command(flatten)]
    pub decoding: Decoding,
    /// Query the values only where the base is uncertain, or on a schedule: entropy>NATS, margin<PROBABILITY, every=TOKENS or
    /// first=TOKENS (quote > and <, or write `=`)
    #[arg(long, value_name = "GATE", value_parser = gate, conflicts_with = "draft")]
    pub gate: Option<Gate>,
    /// Number of answers to generate
    #[arg(long, value_name = "K", default_value_t = 1)]
    pub n: usize,
    #[command(flatten)]
    pub drafts: Drafts,
}

/// Compute the log-likelihood of texts, token by token
#[derive(Debug, clap::Args)]
#[command(
    group = ArgGroup::new("input").required(true).args(["text", "file"]),
    after_help = "Example:\n  ivl score --base examples/first-value/large --value runs/first-value \\\n      \
        --text \"Mira is a pilot.\" --json\n\n\
        A file has one JSON object with `text`, or one JSON string, per line; ivl prints one result for each."
)]
pub struct Score {
    #[command(flatten)]
    pub models: Models,
    /// Text to score
    #[arg(long)]
    pub text: Option<String>,
    /// JSON Lines file with texts
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Number of texts per forward pass
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub batch_size: usize,
}

/// Evaluate a base with any number of values: multiple choice, perplexity, exact match, instruction following
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  ivl eval --base examples/first-value/large --value runs/first-value \\\n      \
        --tasks examples/first-value/answers.toml\n\n\
        A task is a TOML file with its rows in JSON Lines; prompts, scores and figures equal those of \
        lm-evaluation-harness. --output logs every sample; the same command then continues an interrupted run. See \
        docs/evaluation.md."
)]
pub struct Eval {
    #[command(flatten)]
    pub models: Models,
    /// Task files to evaluate
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    pub tasks: Vec<PathBuf>,
    /// Evaluate only the first N rows of each task
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// Number of few-shot examples before each prompt (default: the task's)
    #[arg(long, value_name = "N")]
    pub num_fewshot: Option<usize>,
    /// Number of sequences per forward pass
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub batch_size: usize,
    /// Maximum number of tokens that the model reads (default: the model's limit)
    #[arg(long, value_name = "N")]
    pub max_length: Option<usize>,
    /// Maximum number of new tokens per answer (default: the task's)
    #[arg(long, value_name = "N")]
    pub max_gen_toks: Option<usize>,
    /// Render prompts with the model's chat template
    #[arg(long)]
    pub apply_chat_template: bool,
    /// Directory for samples, completions for other harnesses, and results
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,
}

/// Show how values change the probabilities of a text, token by token
#[derive(Debug, clap::Args)]
#[command(
    group = ArgGroup::new("input").required(true).args(["text", "file", "prompt", "messages"]),
    after_help = "Example:\n  ivl explain --base examples/first-value/large --value runs/first-value \\\n      \
        --prompt $'Question: What is the work of Mira?\\nAnswer:' --html runs/answer.html\n\n\
        Blue tokens are more probable with the values, orange ones less probable. Underlined tokens mark positions where \
        the values change the most probable token. With several values, ivl also shows the contribution of each and how \
        every two agree. docs/explain.md defines the figures."
)]
pub struct Explain {
    #[command(flatten)]
    pub models: Models,
    /// Text to explain
    #[arg(long)]
    pub text: Option<String>,
    /// File with texts or demonstrations, as `ivl train` reads them; ivl explains the tokens that training would train on
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Text to continue; ivl explains the answer
    #[arg(long)]
    pub prompt: Option<String>,
    /// JSON file with a list of messages, which the chat template renders; ivl explains the assistant's turns, or its own
    /// answer if the last turn is not the assistant's
    #[arg(long, value_name = "FILE")]
    pub messages: Option<PathBuf>,
    #[command(flatten)]
    pub decoding: Decoding,
    /// Write the explanation as a self-contained HTML page
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Print, for every threshold of a gate, the share of value passes that it saves and how often it keeps the most probable
    /// token, instead of explaining tokens
    #[arg(long, conflicts_with = "html")]
    pub gate_curve: bool,
    /// Use of colours; auto means on a terminal unless NO_COLOR is set
    #[arg(long, value_enum, default_value_t = Color::Auto)]
    pub color: Color,
}

/// Chat with a base and any number of values
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  ivl chat --base examples/first-value/large --value runs/first-value --plain\n\n\
        /help lists the commands of a conversation. Ctrl-C stops an answer, Ctrl-D quits. If the input is not a \
        terminal, every line is one message."
)]
pub struct Chat {
    #[command(flatten)]
    pub models: Models,
    /// System message
    #[arg(long, value_name = "TEXT")]
    pub system: Option<String>,
    /// Use no chat template: join the messages into one text, one per line
    #[arg(long)]
    pub plain: bool,
    #[command(flatten)]
    pub decoding: Decoding,
    /// Query the values only where the base is uncertain, or on a schedule; see `ivl generate --help`
    #[arg(long, value_name = "GATE", value_parser = gate)]
    pub gate: Option<Gate>,
    /// Use of colours; auto means on a terminal unless NO_COLOR is set
    #[arg(long, value_enum, default_value_t = Color::Auto)]
    pub color: Color,
}

/// Map the vocabulary of a base to the vocabulary of a value from another family
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  ivl align --from crates/ivl-demo-models/models/other --to runs/first-value \\\n      \
        --out runs/other.safetensors\n  \
        ivl generate --base crates/ivl-demo-models/models/other --value runs/first-value \\\n      \
        --map runs/other.safetensors --prompt \"Mara Vost was born in\"\n\n\
        A corpus is a text file, or JSON Lines with `text` or one JSON string per line. docs/vocabularies.md explains \
        the methods."
)]
pub struct Align {
    /// Base, or a directory with its tokenizer.json
    #[arg(long, value_name = "MODEL")]
    pub from: String,
    /// Value, or a directory with its tokenizer.json
    #[arg(long, value_name = "MODEL")]
    pub to: String,
    /// Method of matching tokens: exact, prefix, edit-distance, co-occurrence, co-occurrence-published or hybrid
    #[arg(long, value_name = "METHOD", default_value = "hybrid")]
    pub method: String,
    /// Corpus for token co-occurrence counts. Required by both co-occurrence methods, optional for hybrid; also weights the
    /// coverage report
    #[arg(long, value_name = "FILE")]
    pub corpus: Option<PathBuf>,
    /// File to write the map to
    #[arg(long, value_name = "MAP")]
    pub out: PathBuf,
}

/// Print what a model or value consists of: architecture, parameters, tokenizer, chat template, card
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  ivl inspect runs/first-value --json")]
pub struct Inspect {
    /// Directory in Hugging Face layout, GGUF file, or hub name `org/name[@revision][:QUANTISATION]`
    pub model: String,
}

/// Convert a model or value to a GGUF file or a directory in Hugging Face layout
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  ivl convert examples/first-value/large --to gguf:Q8_0 --out large.gguf\n\n\
    Adapters are merged into the model that they were trained on. The card of a value goes along. docs/gguf.md says which \
    architectures and types are read and written."
)]
pub struct Convert {
    /// Directory in Hugging Face layout, GGUF file, or hub name `org/name[@revision][:QUANTISATION]`
    pub model: String,
    /// Format to write: gguf:TYPE with TYPE F32, F16, BF16, Q8_0, Q6_K, Q5_K, Q4_K, Q5_1, Q5_0, Q4_1, Q4_0, IQ4_NL or MXFP4;
    /// hf (F32), hf:F16 or hf:BF16
    #[arg(long, value_name = "FORMAT")]
    pub to: String,
    /// GGUF file or directory to write
    #[arg(long, value_name = "PATH")]
    pub out: PathBuf,
}

/// Benchmark a model against this machine's measured memory and compute limits
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  ivl bench 134m --value 24m\n  ivl bench examples/first-value/large --dtype int8 --json\n\n\
        24m, 134m, 1b and 7b are Llama shapes with random weights and a vocabulary of 32,000 tokens. The ceiling of decoding \
        is the speed at which memory gives every weight once; that of prefill and scoring is the speed of arithmetic with every weight. \
        A fused step is also compared with the base without the value, corrected for the weights that the value adds. Every \
        round measures its own ceiling. The table has medians over the rounds, and the memory after the last one."
)]
pub struct Bench {
    /// Model directory, GGUF file, hub name, or one of the built-in shapes 24m, 134m, 1b, 7b
    pub model: String,
    /// Value of the same vocabulary, or a built-in shape
    #[arg(long, value_name = "VALUE")]
    pub value: Option<String>,
    /// Measurements to run. `fused` compares decoding with and without the value, `train` takes a training step of the value
    /// against the model, on 8 rows of --context tokens; both need --value
    #[arg(long, value_enum, value_name = "WHAT,..", value_delimiter = ',',
        default_values_t = [Measure::Fused, Measure::Decode, Measure::Prefill, Measure::Score])]
    pub measure: Vec<Measure>,
    /// Numbers of rows to decode together
    #[arg(long, value_name = "N,..", value_delimiter = ',', default_values_t = [1, 8, 16, 32])]
    pub rows: Vec<usize>,
    /// Number of tokens in the cache before decoding starts
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub context: usize,
    /// Number of tokens decoded per round
    #[arg(long, value_name = "N", default_value_t = 32)]
    pub tokens: usize,
    /// Number of tokens of the prompt, and of each of the eight texts that are scored
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub prompt: usize,
    /// Number of rounds per measurement, after one warm-up round
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

/// Check that a device computes the same logits and greedy tokens as the CPU
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  ivl parity examples/first-value/large --device cpu --dtype f16\n\n\
        Each model reads a batch of two rows, then sixteen more tokens one by one through the cache. The reference is ivl's \
        own f32 kernels on the CPU. In f32 a logit may differ by a thousandth of the largest logit, and no token may differ; \
        in bf16 and f16 the limit is twice the error of the CPU in that type. The exit status is 1 if a model differs by more.")]
pub struct Parity {
    /// Directories in Hugging Face layout, GGUF files, or hub names
    #[arg(required = true, value_name = "MODEL")]
    pub models: Vec<String>,
}

/// Serve a base and any number of values over the OpenAI API, with a chat page
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  ivl serve --base examples/first-value/large --value helpful=runs/first-value:0.8\n\n\
        Then open http://127.0.0.1:8080, or point any OpenAI client at http://127.0.0.1:8080/v1. Clients choose the base \
        or a value by its name as `model`; see docs/serving.md."
)]
pub struct Serve {
    /// Directory in Hugging Face layout, GGUF file, or hub name `org/name[@revision][:QUANTISATION]`
    #[arg(long, value_name = "MODEL")]
    pub base: String,
    /// Name of the base for clients (default: the name of its directory)
    #[arg(long, value_name = "ID")]
    pub name: Option<String>,
    /// Value to serve, with its name for clients and its default weight (the card's, else 1); may be repeated
    #[arg(long, value_name = "[ID=]VALUE[:ALPHA]")]
    pub value: Vec<String>,
    #[command(flatten)]
    pub template: Template,
    #[command(flatten)]
    pub attach: AttachOptions,
    #[command(flatten)]
    pub drafts: Drafts,
    /// Address to listen on; any other than loopback requires --api-key or --open
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    pub host: IpAddr,
    /// Port to listen on; 0 picks a free one
    #[arg(long, default_value_t = 8080)]
    pub port: u16,
    /// Key that clients must send as a bearer token; may be repeated
    #[arg(long, value_name = "KEY", env = "IVL_API_KEY", hide_env_values = true)]
    pub api_key: Vec<String>,
    /// Allow other machines without a key
    #[arg(long)]
    pub open: bool,
    /// Host name that clients may use besides local ones, such as that of a proxy; may be repeated
    #[arg(long, value_name = "NAME")]
    pub allowed_host: Vec<String>,
    /// Site whose pages may use the API from a browser, such as https://app.example, or * for all; may be repeated
    #[arg(long, value_name = "ORIGIN")]
    pub cors_origin: Vec<String>,
    /// Write a line for each request to standard error
    #[arg(long)]
    pub access_log: bool,
    /// Proxy whose X-Forwarded-For names the client in the access log and in the queue: an address or a network such as
    /// 10.0.0.0/8; may be repeated
    #[arg(long, value_name = "ADDRESS", value_parser = network)]
    pub trusted_proxy: Vec<IpNet>,
    /// Maximum number of texts generated at once
    #[arg(long, value_name = "N", default_value_t = 32)]
    pub max_rows: usize,
    /// Maximum number of texts generated or waiting; further requests get status 429
    #[arg(long, value_name = "N", default_value_t = 1024)]
    pub max_queue: usize,
    /// Maximum number of texts of one client generated or waiting (default: half of --max-queue)
    #[arg(long, value_name = "N")]
    pub max_queue_per_client: Option<usize>,
    /// Maximum number of new tokens per text
    #[arg(long, value_name = "N", default_value_t = 4096)]
    pub max_tokens: usize,
    /// Memory for the KV caches of texts being generated, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 4096)]
    pub cache_mib: usize,
    /// Memory for the KV caches of earlier prompts, reused for prompts with the same beginning, in MiB; 0 keeps none
    #[arg(long, value_name = "MIB", default_value_t = 1024)]
    pub prefix_cache_mib: usize,
    /// Seconds that running requests get to finish after the first stop signal
    #[arg(long, value_name = "S", default_value_t = 60)]
    pub drain_seconds: u64,
}

/// Measure how well a value transfers: every base without it, with it at several weights, and fully fine-tuned
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  ivl transfer --value runs/first-value \\\n      \
        --bases examples/first-value/small examples/first-value/large \\\n      \
        --data examples/first-value/held-out.jsonl --out runs/transfer\n\n\
        Writes report.html, table.md, table.json and answers.jsonl to DIR. --write-card also writes the verdict to the \
        value's card, ivl.json. docs/transfer.md explains how to read them.")]
pub struct Transfer {
    /// Value to measure; several directories are the same value trained with different seeds
    #[arg(long, value_name = "VALUE", num_args = 1.., required = true)]
    pub value: Vec<String>,
    /// Bases to plug the value into
    #[arg(long, value_name = "MODEL", num_args = 1.., required = true)]
    pub bases: Vec<String>,
    /// File with questions and their answers, in any format of demonstrations
    #[arg(long, value_name = "FILE")]
    pub data: PathBuf,
    /// Full fine-tunings of the bases on the same demonstrations, in the order of the bases; k per base means k seeds
    #[arg(long, value_name = "MODEL", num_args = 1.., conflicts_with = "train_full_finetunes")]
    pub full_finetunes: Vec<String>,
    /// Fully fine-tune every base with this configuration (its `base` is ignored); results go to DIR/full
    #[arg(long, value_name = "CONFIG.toml", requires = "out")]
    pub train_full_finetunes: Option<PathBuf>,
    /// Seeds of these fine-tunings (default: the configuration's)
    #[arg(long, value_name = "N,..", value_delimiter = ',', requires = "train_full_finetunes")]
    pub seeds: Vec<u64>,
    /// Weights of the value to measure
    #[arg(long, value_name = "A,..", value_delimiter = ',', default_values_t = [0.5, 1.0, 1.5])]
    pub alphas: Vec<f64>,
    /// Map for bases with another vocabulary: a method of `ivl align` that needs no corpus, or a map file; may be repeated
    #[arg(long, value_name = "FILE|METHOD", default_values_t = [String::from("hybrid")])]
    pub map: Vec<String>,
    #[command(flatten)]
    pub template: Template,
    /// Use only the first N questions
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// Score the answers of the data only; generate none, so that there is no exact match
    #[arg(long)]
    pub no_answers: bool,
    /// Write the verdict and the recommended weight to the value's card
    #[arg(long)]
    pub write_card: bool,
    /// Leave the value's card as it is: the default, kept for scripts of earlier versions
    #[arg(long, hide = true, conflicts_with = "write_card")]
    pub keep_card: bool,
    /// Directory for the report
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// Demonstrate value transfer on models that ship with ivl: train a value on the smallest, plug it into the others
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  ivl demo\n\n\
        Needs no network and no GPU, and takes a few minutes on two cores. Writes models, data, configuration, value and \
        report.html to DIR. The same command continues an interrupted run.")]
pub struct Demo {
    /// Directory for everything that is written
    #[arg(long, value_name = "DIR", default_value = "runs/demo")]
    pub out: PathBuf,
    /// Train and evaluate less: a few seconds, with rougher figures
    #[arg(long)]
    pub quick: bool,
}

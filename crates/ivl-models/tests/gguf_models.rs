//! GGUF files of every architecture against transformers: files and golden logits, made by llama.cpp's converter in
//! `fixtures/make_gguf_converter_fixtures.py`, and by `fixtures/make_gguf_fixtures.py` for what it does not show.

use std::path::{Path, PathBuf};

use burn::tensor::{DType, Device};
use ivl_core::tokens::token_tensor;
use ivl_core::vocab::Token;
use ivl_core::{CausalLm, Vocab};
use ivl_models::gguf::{Gguf, GgufType};
use ivl_models::{Checkpoint, PackedFormat, Transformer, TransformerLm, Weights};
use safetensors::SafeTensors;

fn fixture(name: &str) -> PathBuf {
    fixture_in("gguf", name)
}

fn fixture_in(folder: &str, name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(folder).join(name)
}

/// The prompt and the logits of transformers.
fn golden(file: &Path) -> (Vec<u32>, Vec<f32>) {
    let bytes = std::fs::read(file.with_extension("golden.safetensors")).expect("reads");
    let file = SafeTensors::deserialize(&bytes).expect("safetensors");
    let bytes = |tensor| file.tensor(tensor).expect("is there").data().to_vec();
    let ids =
        bytes("ids").chunks(8).map(|b| i64::from_le_bytes(b.try_into().expect("eight")) as u32).collect();
    let logits = bytes("logits").chunks(4).map(|b| f32::from_le_bytes(b.try_into().expect("four"))).collect();
    (ids, logits)
}

fn logits(net: Transformer, ids: &[u32]) -> Vec<f32> {
    let tokens = (0..net.config().vocab_size).map(|id| Some(Token::text(id.to_le_bytes()))).collect();
    let lm = TransformerLm::new(net, Vocab::new(tokens), "fixture");
    let logits =
        lm.forward(token_tensor(ids, 1, &lm.device()), &mut lm.new_cache(&[0])).expect("its own cache");
    logits.into_data().try_into_vec().expect("f32")
}

/// The largest difference of the log-probabilities of any token.
fn difference(got: &[f32], expected: &[f32], vocab: usize) -> f32 {
    let logprobs = |logits: &[f32]| -> Vec<f32> {
        let max = logits.iter().copied().fold(f32::MIN, f32::max);
        let sum = logits.iter().map(|logit| (logit - max).exp()).sum::<f32>().ln();
        logits.iter().map(|logit| logit - max - sum).collect()
    };
    let rows = got.chunks(vocab).zip(expected.chunks(vocab));
    let pairs = rows.flat_map(|(a, b)| logprobs(a).into_iter().zip(logprobs(b)).collect::<Vec<_>>());
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[track_caller]
fn check(name: &str, model_type: &str) {
    check_file(&fixture(&format!("{name}.gguf")), model_type);
}

#[track_caller]
fn check_file(file: &Path, model_type: &str) {
    let checkpoint = Checkpoint::open(file).expect("opens");
    assert_eq!(checkpoint.json()["model_type"], model_type);
    let (ids, expected) = golden(file);
    for weights in [Weights::from(DType::F32), PackedFormat::F32.into()] {
        let net = checkpoint.load(&Device::flex(), weights).expect("loads");
        let difference = difference(&logits(net, &ids), &expected, checkpoint.config().vocab_size);
        assert!(
            difference <= 1e-4,
            "{} {weights:?}: log-probabilities differ by {difference}",
            file.display()
        );
    }
}

#[test]
fn llama_undoes_the_permutation_of_queries_and_keys() {
    check("llama_bias", "llama");
}

#[test]
fn llama_reads_the_scaling_of_rotary_frequencies() {
    check("llama3", "llama");
    check("llama_linear", "llama");
    check("llama_yarn", "llama");
    let json = Checkpoint::open(&fixture("llama3.gguf")).expect("opens").json().clone();
    assert_eq!(
        json["rope_parameters"],
        serde_json::json!({
            "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 256, "rope_theta": 500_000.0,
        })
    );
    assert_eq!(json["tie_word_embeddings"], true);
}

#[test]
fn a_window_makes_a_llama_file_mistral() {
    check("mistral", "mistral");
}

#[test]
fn every_block_format_means_what_the_python_package_reads() {
    check("llama_blocks", "llama");
    check("llama_more_blocks", "llama");
}

/// Every name of an architecture that llama.cpp's converter writes, and the tokenizers that go with them.
#[test]
fn files_of_the_converter_mean_what_their_checkpoints_do() {
    let lines = std::fs::read(fixture_in("gguf_converted", "lines.json")).expect("reads");
    let lines: Lines = serde_json::from_slice(&lines).expect("a fixture");
    for (name, model_type, ids) in [
        ("llama", "llama", &lines.sentencepiece),
        ("llama3", "llama", &lines.byte_level),
        ("mistral", "llama", &lines.sentencepiece),
        ("qwen2", "qwen2", &lines.byte_level),
        ("qwen3", "qwen3", &lines.byte_level),
        ("gemma", "gemma", &lines.gemma),
        ("gemma2", "gemma2", &lines.gemma),
        ("gemma3", "gemma3_text", &lines.gemma),
        ("phi2", "phi", &lines.byte_level),
        ("phi3", "phi3", &lines.sentencepiece),
        ("phi3_longrope", "phi3", &lines.sentencepiece),
        ("gpt2", "gpt2", &lines.byte_level),
        ("gptneox", "gpt_neox", &lines.byte_level),
        ("gptneox_sequential", "gpt_neox", &lines.byte_level),
        ("ernie4_5", "ernie4_5", &lines.sentencepiece),
        ("nemotron", "nemotron", &lines.sentencepiece),
        ("gemma4", "gemma4_text", &lines.gemma),
        ("gemma4_moe", "gemma4_text", &lines.gemma),
    ]
    .into_iter()
    .chain(MORE.map(|(name, model_type)| (name, model_type, &lines.byte_level)))
    {
        let file = fixture_in("gguf_converted", &format!("{name}.gguf"));
        check_file(&file, model_type);
        let tokenizer = Checkpoint::open(&file).expect("opens").tokenizer().expect("reads");
        for (line, ids) in lines.texts.iter().zip(ids) {
            assert_eq!(&tokenizer.encode(line, false).expect("encodes"), ids, "{name}: {line:?}");
        }
    }
}

/// Recurrent layers, mixtures of experts and further dense models.
const MORE: [(&str, &str); 24] = [
    ("qwen35", "qwen3_5_text"),
    ("qwen35moe", "qwen3_5_moe_text"),
    ("lfm2", "lfm2"),
    ("gpt-oss", "gpt_oss"),
    ("mixtral", "mixtral"),
    ("qwen2moe", "qwen2_moe"),
    ("qwen3moe", "qwen3_moe"),
    ("olmoe", "olmoe"),
    ("granitemoe", "granitemoe"),
    ("granite", "granite"),
    ("smollm3", "smollm3"),
    ("olmo2", "olmo2"),
    ("command-r", "cohere"),
    ("cohere2", "cohere2"),
    ("starcoder2", "starcoder2"),
    ("stablelm", "stablelm"),
    ("exaone4", "exaone4"),
    ("seed_oss", "seed_oss"),
    ("arcee", "arcee"),
    ("glm4", "glm4"),
    ("mistral3", "ministral3"),
    ("olmo3", "olmo3"),
    ("granite4", "granite"),
    ("hunyuan-dense", "hunyuan_v1_dense"),
];

#[test]
fn files_that_ivl_writes_mean_what_it_read() {
    let dir = tempfile::tempdir().expect("a directory");
    let others = ["nemotron", "gemma4", "gemma4_moe"];
    for name in MORE.map(|(name, _)| name).into_iter().chain(others) {
        let file = fixture_in("gguf_converted", &format!("{name}.gguf"));
        let checkpoint = Checkpoint::open(&file).expect("opens");
        let copy = dir.path().join(format!("{name}.gguf"));
        checkpoint
            .save_gguf(None, GgufType::F32, None, &copy)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let (ids, expected) = golden(&file);
        let net = Checkpoint::open(&copy).expect("opens").load(&Device::flex(), DType::F32).expect("loads");
        let difference = difference(&logits(net, &ids), &expected, checkpoint.config().vocab_size);
        assert!(difference <= 1e-4, "{name}: log-probabilities differ by {difference}");
    }
}

/// llama.cpp asserts it, of biases of experts for instance.
#[test]
fn what_the_converter_keeps_in_full_stays_in_full() {
    let dir = tempfile::tempdir().expect("a directory");
    for (name, _) in MORE {
        let file = fixture_in("gguf_converted", &format!("{name}.gguf"));
        let copy = dir.path().join(format!("{name}.gguf"));
        let checkpoint = Checkpoint::open(&file).expect("opens");
        checkpoint.save_gguf(None, GgufType::F16, None, &copy).expect("writes");
        let [file, copy] = [file, copy].map(|path| Gguf::open(&path).expect("opens"));
        for tensor in copy.tensor_names() {
            let [expected, got] = [&file, &copy].map(|file| file.tensor(tensor).map(|tensor| tensor.kind));
            if expected == Some(GgufType::F32) {
                assert_eq!(got, expected, "{name}: {tensor}");
            }
        }
    }
}

/// Lines, and their ids by each tokenizer.
#[derive(serde::Deserialize)]
struct Lines {
    #[serde(rename = "lines")]
    texts: Vec<String>,
    sentencepiece: Vec<Vec<u32>>,
    gemma: Vec<Vec<u32>>,
    #[serde(rename = "gpt-2")]
    byte_level: Vec<Vec<u32>>,
}

#[test]
fn a_directory_with_one_gguf_file_is_that_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = fixture_in("gguf_converted", "qwen2.gguf");
    let copy = |to: &str| std::fs::copy(&file, dir.path().join(to)).expect("copies");
    copy("model-Q8_0.gguf");
    copy("mmproj-F16.gguf");
    // Repositories of GGUF files often have the configuration of the model that they were made from.
    std::fs::write(dir.path().join("config.json"), "{}").expect("writes");
    let checkpoint = Checkpoint::open(dir.path()).expect("opens");
    assert_eq!(checkpoint.path(), dir.path().join("model-Q8_0.gguf"));
    copy("model-F16.gguf");
    let error = Checkpoint::open(dir.path()).expect_err("two models").to_string();
    assert!(error.contains("`model-F16.gguf`, `model-Q8_0.gguf`") && !error.contains("mmproj"), "{error}");
}

#[test]
fn what_ivl_has_no_model_for_is_refused_by_name() {
    let error = |file: &Path| Checkpoint::open(file).expect_err("is refused").to_string();
    let container = error(&fixture("container.gguf"));
    assert!(
        container.contains("general.architecture `container`") && container.contains("llama"),
        "{container}"
    );
}

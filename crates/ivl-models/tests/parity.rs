//! Every family against transformers: tiny random checkpoints and golden outputs, made by `fixtures/make_fixtures.py`.

use std::path::{Path, PathBuf};

use burn::tensor::{DType, Device};
use ivl_core::decode::{Draft, EndTokens, GenerateConfig, Pace, Speculation, generate, speculate};
use ivl_core::fusion::BaseLm;
use ivl_core::tokens::token_tensor;
use ivl_core::vocab::Token;
use ivl_core::{CausalLm, Vocab};
use ivl_models::families::read_config;
use ivl_models::{Checkpoint, PackedFormat, TransformerLm, save};
use safetensors::SafeTensors;

/// Largest difference of any logit that counts as equal.
const TOLERANCE: f32 = 1e-4;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

struct Golden(Vec<u8>);

impl Golden {
    fn open(name: &str) -> Self {
        Self(std::fs::read(fixtures().join(name).join("golden.safetensors")).expect("golden.safetensors"))
    }

    fn raw(&self, tensor: &str) -> Option<(Vec<usize>, Vec<u8>)> {
        let file = SafeTensors::deserialize(&self.0).expect("safetensors");
        let tensor = file.tensor(tensor).ok()?;
        Some((tensor.shape().to_vec(), tensor.data().to_vec()))
    }

    fn ids(&self, tensor: &str) -> Vec<Vec<u32>> {
        let (shape, bytes) = self.raw(tensor).unwrap_or_else(|| panic!("no golden `{tensor}`"));
        let ids: Vec<u32> =
            bytes.chunks(8).map(|b| i64::from_le_bytes(b.try_into().expect("eight")) as u32).collect();
        ids.chunks(shape[1]).map(<[u32]>::to_vec).collect()
    }

    fn logits(&self, tensor: &str) -> Vec<f32> {
        let (_, bytes) = self.raw(tensor).unwrap_or_else(|| panic!("no golden `{tensor}`"));
        bytes.chunks(4).map(|b| f32::from_le_bytes(b.try_into().expect("four"))).collect()
    }
}

fn open(name: &str) -> Checkpoint {
    Checkpoint::open(&fixtures().join(name)).expect("opens")
}

/// Who multiplies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    /// The operations of the backend.
    Backend,
    /// The kernels of the CPU, on packed weights.
    Kernels,
}

fn lm(checkpoint: &Checkpoint, by: By) -> TransformerLm {
    let device = Device::flex();
    let net = match by {
        By::Backend => checkpoint.load(&device, DType::F32),
        By::Kernels => checkpoint.load(&device, PackedFormat::F32),
    };
    let net = net.expect("loads");
    let tokens = (0..checkpoint.config().vocab_size).map(|id| Some(Token::text(id.to_le_bytes()))).collect();
    TransformerLm::new(net, Vocab::new(tokens), "fixture")
}

fn logits(lm: &dyn CausalLm, ids: &[u32]) -> Vec<f32> {
    let logits =
        lm.forward(token_tensor(ids, 1, &lm.device()), &mut lm.new_cache(&[0])).expect("its own cache");
    logits.into_data().try_into_vec().expect("f32")
}

#[track_caller]
fn assert_close(what: &str, got: &[f32], expected: &[f32]) {
    assert_eq!(got.len(), expected.len(), "{what}");
    let worst = got.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst <= TOLERANCE, "{what}: largest difference {worst}");
}

/// Rows and pieces against the whole: kernels give the same bits.
#[track_caller]
fn assert_same(by: By, what: &str, got: &[f32], expected: &[f32]) {
    match by {
        By::Backend => assert_close(what, got, expected),
        By::Kernels => assert!(got == expected, "{what}: not the same bits"),
    }
}

fn check(name: &str) {
    check_by(name, By::Backend);
    check_by(name, By::Kernels);
}

fn check_by(name: &str, by: By) {
    let (golden, checkpoint) = (Golden::open(name), open(name));
    let lm = lm(&checkpoint, by);
    let ids = &golden.ids("ids")[0];
    let whole = logits(&lm, ids);
    assert_close("logits", &whole, &golden.logits("logits"));
    if golden.raw("long_ids").is_some() {
        assert_close("long", &logits(&lm, &golden.ids("long_ids")[0]), &golden.logits("long_logits"));
    }

    // The same through a cache, in uneven pieces, the last token by token.
    let mut cache = lm.new_cache(&[0]);
    cache.set_expected_len(ids.len());
    let cuts = [0, 1, 4, 11, ids.len() - 3, ids.len() - 2, ids.len() - 1, ids.len()];
    let mut pieces = Vec::new();
    for cut in cuts.windows(2) {
        let piece = lm
            .forward(token_tensor(&ids[cut[0]..cut[1]], 1, &lm.device()), &mut cache)
            .expect("its own cache");
        pieces.extend(piece.into_data().try_into_vec::<f32>().expect("f32"));
    }
    assert_same(by, "cached", &pieces, &whole);

    let greedy = &golden.ids("greedy")[0];
    let config = GenerateConfig::default().max_new_tokens(greedy.len()).end_tokens(EndTokens::none());
    let generated: Vec<u32> =
        generate(&lm, &[ids], &config).expect("valid").map(|step| step.expect("finite").token).collect();
    assert_eq!(&generated, greedy, "greedy");

    // Prompts of different lengths, padded on the left.
    let (batch, mask) = (golden.ids("batch_ids"), golden.ids("batch_mask"));
    let padding: Vec<usize> = mask.iter().map(|row| row.iter().filter(|&&m| m == 0).count()).collect();
    let together = lm
        .forward(token_tensor(&batch.concat(), batch.len(), &lm.device()), &mut lm.new_cache(&padding))
        .expect("its own cache");
    let together: Vec<f32> = together.into_data().try_into_vec().expect("f32");
    let expected = golden.logits("batch_logits");
    let vocab = checkpoint.config().vocab_size;
    for (row, &padding) in padding.iter().enumerate() {
        let real = (row * ids.len() + padding) * vocab..(row + 1) * ids.len() * vocab;
        assert_same(
            by,
            "batch row equals the row alone",
            &together[real.clone()],
            &logits(&lm, &batch[row][padding..]),
        );
        if !length_dependent(&checkpoint) {
            assert_close("batch", &together[real.clone()], &expected[real]);
        }
    }

    // A saved model loads again, bit for bit.
    let dir = tempfile::tempdir().expect("temporary directory");
    save(lm.net(), checkpoint.json(), dir.path()).expect("saves");
    let again = self::lm(&Checkpoint::open(dir.path()).expect("opens"), by);
    assert_eq!(logits(&again, ids), whole, "saved and loaded");

    // Both forms of config.json mean the same.
    let old = fixtures().join(name).join("config.v4.json");
    if old.is_file() {
        let json = serde_json::from_slice(&std::fs::read(&old).expect("reads")).expect("an object");
        assert_eq!(read_config(&json, &old).expect("reads").1, *checkpoint.config(), "config.v4.json");
    }
}

/// Where frequencies depend on the length of a text, the reference takes the longest row of a batch for all; ours takes
/// each row's own, so that a row never depends on its neighbours.
fn length_dependent(checkpoint: &Checkpoint) -> bool {
    checkpoint.config().ropes().any(|rope| rope.scaling.depends_on_length())
}

macro_rules! families {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            check(stringify!($name));
        })*

        #[test]
        fn every_fixture_is_checked() {
            let mut found: Vec<String> = std::fs::read_dir(fixtures())
                .expect("fixtures")
                .map(|entry| entry.expect("entry").path())
                .filter(|path| path.join("golden.safetensors").is_file())
                .map(|path| path.file_name().expect("name").to_string_lossy().into_owned())
                .collect();
            let mut checked = vec![$(stringify!($name).to_owned()),*];
            found.sort();
            checked.sort();
            assert_eq!(found, checked);
        }
    };
}

families! {
    llama2
    llama3
    llama_linear
    llama_dynamic
    llama_yarn
    llama_yarn_mscale
    llama_bias
    llama_sharded
    llama_f16
    llama_bf16
    mistral
    mistral_nowindow
    qwen2
    qwen2_window
    qwen3
    gemma
    gemma2
    gpt_neox
    gpt_neox_sequential
    gpt2
    gpt2_scaled
    phi
    phi_qknorm
    phi3
    phi3_longrope
    phi4_mini
    gemma3_text
    gemma3
    gemma4_text
    gemma4_moe
    gemma4
    mistral3
    internvl
    aya_vision
    cohere2_vision
    olmo2
    olmo3
    granite
    granite4_dense
    ministral3
    smollm3
    cohere
    cohere2
    glm4
    starcoder2
    stablelm
    stablelm_parallel
    exaone4
    apertus
    seed_oss
    nemotron
    arcee
    ernie4_5
    hunyuan_v1_dense
    helium
    qwen2_moe
    qwen3_moe
    mixtral
    mixtral_stacked
    olmoe
    granitemoe
    gpt_oss
    lfm2
    lfm2_bias
    qwen3_5_text
    qwen3_5
    qwen3_5_moe_text
}

#[test]
fn a_model_that_sees_is_read_and_written_as_its_language_model() {
    for (name, text_type) in [
        ("gemma3", "gemma3_text"),
        ("gemma4", "gemma4_text"),
        ("mistral3", "mistral"),
        ("internvl", "qwen2"),
        ("aya_vision", "cohere2"),
        ("cohere2_vision", "cohere2"),
        ("qwen3_5", "qwen3_5_text"),
    ] {
        let checkpoint = open(name);
        let notes = checkpoint.notes().expect("reads");
        let notes: Vec<String> = notes.iter().map(ToString::to_string).collect();
        assert!(notes.len() == 1 && notes[0].contains("no part of the language model"), "{name}: {notes:?}");
        let dir = tempfile::tempdir().expect("temporary directory");
        let net = checkpoint.load(&Device::flex(), DType::F32).expect("loads");
        save(&net, checkpoint.json(), dir.path()).expect("saves");
        let saved = Checkpoint::open(dir.path()).expect("opens");
        assert_eq!(saved.json()["model_type"], text_type);
        assert!(!saved.json().contains_key("text_config") && saved.notes().expect("reads").is_empty());
        let names: Vec<String> = saved.tensors().expect("opens").names().map(str::to_owned).collect();
        assert!(names.iter().all(|name| name.starts_with("model.") || name == "lm_head.weight"), "{names:?}");
        assert!(names.iter().all(|name| !name.contains("vision")), "{names:?}");
    }
}

/// Drafts are right here, since the draft is the model itself: what could go wrong is that a block is read across a length
/// at which positions change, or that what was read of rejected tokens is left.
#[test]
fn drafts_change_no_token_where_positions_depend_on_the_length() {
    let models = ["phi3_longrope", "llama_dynamic"].into_iter();
    for (name, by) in models.flat_map(|name| [(name, By::Backend), (name, By::Kernels)]) {
        let checkpoint = open(name);
        let target = BaseLm::plain(lm(&checkpoint, by));
        let config = GenerateConfig::default().max_new_tokens(60).end_tokens(EndTokens::none());
        let prompt: Vec<u32> = (3..13).collect();
        let plain: Vec<u32> = generate(&target, &[&prompt], &config)
            .expect("valid")
            .map(|step| step.expect("finite").token)
            .collect();
        for (length, draft) in [3, 5, 8].into_iter().flat_map(|length| {
            let model = Draft::model(Box::new(lm(&checkpoint, by)), target.vocab(), true)
                .expect("the same vocabulary");
            [(length, model), (length, Draft::prompt_lookup(1).expect("one"))]
        }) {
            let speculation = Speculation::new(draft, Pace::fixed(length));
            let mut texts = speculate(&target, speculation, &[&prompt], &config).expect("valid");
            let ours: Vec<u32> = texts.by_ref().map(|step| step.expect("finite").token).collect();
            assert_eq!(ours, plain, "{name}, {by:?}, {length} tokens at once");
        }
    }
}

//! Quantised checkpoints against the same weights as floats: `fixtures/make_quantized_fixtures.py` made them.

use std::path::{Path, PathBuf};

use burn::tensor::{DType, Device};
use ivl_core::tokens::token_tensor;
use ivl_models::{Checkpoint, Error, PackedFormat, Transformer};
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/quantized")
}

/// The formats, and what `Display` says of each.
const FORMATS: [(&str, &str); 18] = [
    ("awq", "AWQ, 4 bits, groups of 32"),
    ("float8", "compressed-tensors, float8, a scale for each output"),
    ("float8_block", "compressed-tensors, float8, blocks of 16 x 32"),
    ("float8_tensor", "compressed-tensors, float8, one scale"),
    ("fp8_block", "fp8, blocks of 24 x 40"),
    ("fp8_e5m2", "fp8, blocks of 32 x 32"),
    ("fp8_tensor", "fp8"),
    ("gptq_4bit", "GPTQ, 4 bits, groups of 32"),
    ("gptq_8bit", "GPTQ, 8 bits, groups of 16"),
    ("gptq_act_order", "GPTQ, 4 bits, groups of 32"),
    ("gptq_v2", "GPTQ, 4 bits, groups of 16"),
    ("int8", "compressed-tensors, int8, a scale for each output"),
    ("int8_zero", "compressed-tensors, int8, one scale"),
    ("mxfp4", "MXFP4"),
    ("packed_int4", "compressed-tensors, int4, groups of 32"),
    ("packed_int4_ordered", "compressed-tensors, int4, groups of 32"),
    ("packed_int4_zero", "compressed-tensors, int4, groups of 16"),
    ("packed_int8", "compressed-tensors, int8, a scale for each output"),
];

fn floats(file: &SafeTensors<'_>, name: &str) -> Vec<f32> {
    let bytes = file.tensor(name).expect("a golden tensor").data();
    bytes.chunks(4).map(|bytes| f32::from_le_bytes(bytes.try_into().expect("four"))).collect()
}

fn logits(net: &Transformer, ids: &[u32]) -> Vec<f32> {
    let logits = net.forward(token_tensor(ids, 1, &Device::flex()), &mut net.new_cache(&[0]));
    logits.into_data().try_into_vec().expect("f32")
}

fn assert_close(what: &str, got: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(got.len(), expected.len(), "{what}");
    let worst = got.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst <= tolerance, "{what}: largest difference {worst}");
}

/// The down projection of the first layer, `[outputs, inputs]`, or those of its experts, `[experts, inputs, outputs]`.
fn down_projections(net: &Transformer) -> Vec<f32> {
    let mut all = Vec::new();
    for parameter in net.named_parameters() {
        let is_down = parameter.path.starts_with("blocks.0.") && parameter.path.ends_with("down.weight");
        let [inputs, outputs] = parameter.shape[..] else { continue };
        if !is_down {
            continue;
        }
        let data = parameter.tensor.into_data();
        let numbers = data.as_slice::<f32>().expect("f32");
        if parameter.path.contains("experts") {
            all.extend_from_slice(numbers);
        } else {
            all.extend((0..outputs * inputs).map(|at| numbers[at % inputs * outputs + at / inputs]));
        }
    }
    all
}

#[test]
fn every_format_gives_the_logits_of_its_numbers() {
    let mut found: Vec<String> = std::fs::read_dir(fixtures())
        .expect("fixtures")
        .map(|entry| entry.expect("entry").file_name().to_string_lossy().into_owned())
        .collect();
    found.sort();
    assert_eq!(found, FORMATS.map(|(name, _)| name));
    for (name, described) in FORMATS {
        let dir = fixtures().join(name);
        let golden = std::fs::read(dir.join("golden.safetensors")).expect("reads");
        let golden = SafeTensors::deserialize(&golden).expect("safetensors");
        let ids = golden.tensor("ids").expect("ids").data();
        let ids: Vec<u32> = ids.chunks(8).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        let checkpoint = Checkpoint::open(&dir).expect("opens");
        assert_eq!(checkpoint.quantization().expect("quantised").to_string(), described);
        assert_eq!(checkpoint.notes().expect("reads").len(), 0);
        let net =
            checkpoint.load(&Device::flex(), DType::F32).unwrap_or_else(|error| panic!("{name}: {error}"));

        let numbers = down_projections(&net);
        let stored = golden.names().into_iter().find(|name| name.starts_with("weight.")).expect("a weight");
        assert_close(name, &numbers, &floats(&golden, stored), 1e-6);

        let expected = floats(&golden, "logits");
        assert_close(name, &logits(&net, &ids), &expected, 1e-4);
        let packed = checkpoint.load(&Device::flex(), PackedFormat::F32).expect("loads");
        assert_close(name, &logits(&packed, &ids), &expected, 1e-4);

        // Written as floats, it is an ordinary checkpoint.
        let written = tempfile::tempdir().expect("a directory");
        ivl_models::save(&net, checkpoint.json(), written.path()).expect("saves");
        let again = Checkpoint::open(written.path()).expect("opens");
        assert!(again.quantization().is_none());
        let again = again.load(&Device::flex(), DType::F32).expect("loads");
        assert_eq!(logits(&again, &ids), logits(&net, &ids), "{name}: written and read");
    }
}

/// A copy of a fixture with another configuration, or with tensors that `change` replaces.
fn changed(
    name: &str,
    edit: impl FnOnce(&mut Value),
    change: impl Fn(&str, &mut Vec<usize>, &mut Vec<u8>) -> bool,
) -> tempfile::TempDir {
    let (from, dir) = (fixtures().join(name), tempfile::tempdir().expect("a directory"));
    let mut json: Value =
        serde_json::from_slice(&std::fs::read(from.join("config.json")).expect("reads")).expect("JSON");
    edit(&mut json["quantization_config"]);
    std::fs::write(dir.path().join("config.json"), json.to_string()).expect("writes");
    let bytes = std::fs::read(from.join("model.safetensors")).expect("reads");
    let file = SafeTensors::deserialize(&bytes).expect("safetensors");
    let mut tensors = Vec::new();
    for (name, view) in file.tensors() {
        let (mut shape, mut data) = (view.shape().to_vec(), view.data().to_vec());
        if change(&name, &mut shape, &mut data) {
            tensors.push((name, view.dtype(), shape, data));
        }
    }
    let views = tensors.iter().map(|(name, dtype, shape, data)| {
        (name.clone(), TensorView::new(*dtype, shape.clone(), data).expect("fits"))
    });
    safetensors::serialize_to_file(views, None, &dir.path().join("model.safetensors")).expect("writes");
    dir
}

fn error_of(dir: &Path) -> Error {
    match Checkpoint::open(dir) {
        Err(error) => error,
        Ok(checkpoint) => checkpoint.load(&Device::flex(), DType::F32).expect_err("an error"),
    }
}

#[test]
fn other_methods_are_refused_by_name_with_a_remedy() {
    for (method, advice) in [
        (json!("bitsandbytes"), "model.dequantize()"),
        (json!("hqq"), "model.dequantize()"),
        (json!("aqlm"), "GGUF file"),
        (json!("auto-round"), "auto_gptq"),
        (json!("modelopt"), "fp8 or compressed-tensors"),
        (Value::Null, "absent"),
    ] {
        let dir = changed("awq", |config| config["quant_method"] = method.clone(), |_, _, _| true);
        let message = error_of(dir.path()).to_string();
        let named = method.as_str().unwrap_or("quant_method");
        assert!(message.contains(named) && (message.contains(advice) || method.is_null()), "{message}");
    }
}

#[test]
fn settings_that_ivl_does_not_read_are_refused() {
    type Edit = fn(&mut Value);
    let cases: [(&str, Edit, &str); 9] = [
        ("gptq_4bit", |config| config["bits"] = json!(3), "`quantization_config.bits`"),
        ("gptq_4bit", |config| config["checkpoint_format"] = json!("marlin"), "gptq or gptq_v2"),
        ("gptq_4bit", |config| config["group_size"] = json!(0), "`quantization_config.group_size`"),
        ("awq", |config| config["version"] = json!("gemv"), "gemm"),
        ("fp8_block", |config| config["weight_block_size"] = json!([0, 4]), "two sizes"),
        ("int8", |config| config["format"] = json!("nvfp4-pack-quantized"), "int-quantized"),
        ("int8", |config| config["sparsity_config"] = json!({ "format": "sparse-24-bitmask" }), "sparse"),
        ("int8", |config| config["transform_config"] = json!({ "config_groups": {} }), "rotated"),
        ("int8", |config| config["ignore"] = json!(["re:("]), "regular expressions"),
    ];
    for (name, edit, expected) in cases {
        let dir = changed(name, edit, |_, _, _| true);
        let message = error_of(dir.path()).to_string();
        assert!(message.contains(expected), "{name}: {message}");
    }
}

#[test]
fn parts_that_do_not_fit_are_errors() {
    const MODULE: &str = "model.layers.0.mlp.up_proj";
    type Change = fn(&str, &mut Vec<usize>, &mut Vec<u8>) -> bool;
    let cut: Change = |name, shape, data| {
        let is_scale = ["scales", "weight_scale", "weight_scale_inv"].iter().any(|end| name.ends_with(end));
        if is_scale && name.starts_with(MODULE) && !shape.is_empty() {
            let row = data.len() / shape[0];
            shape[0] += 1;
            data.extend(vec![0; row]);
        }
        true
    };
    for name in ["awq", "float8", "float8_block", "fp8_block", "gptq_act_order", "int8", "packed_int4_zero"] {
        let dir = changed(name, |_| {}, cut);
        let error = error_of(dir.path());
        assert!(matches!(error, Error::QuantizedPart { .. }), "{name}: {error}");
        assert!(error.to_string().contains(MODULE), "{name}: {error}");
    }
    let without: Change = |name, _, _| !name.ends_with("scales") && !name.ends_with("weight_scale");
    for name in ["awq", "gptq_4bit", "int8", "fp8_tensor", "packed_int4"] {
        let error = error_of(changed(name, |_| {}, without).path());
        assert!(matches!(error, Error::QuantizedPart { .. }), "{name}: {error}");
    }
    let unordered: Change = |name, _, data| {
        if name.ends_with("g_idx") {
            data[0] = 200;
        }
        true
    };
    for name in ["gptq_act_order", "packed_int4_ordered"] {
        let message = error_of(changed(name, |_| {}, unordered).path()).to_string();
        assert!(message.contains("g_idx") && message.contains("groups from 0 to"), "{message}");
    }
    // Sizes that would need more memory than the file has.
    let huge: Change = |name, _, data| {
        if name.ends_with("weight_shape") {
            data.copy_from_slice(&[255; 16]);
        }
        true
    };
    let error = error_of(changed("packed_int4", |_| {}, huge).path());
    assert!(matches!(error, Error::QuantizedPart { .. }), "{error}");
}

#[test]
fn modules_that_the_configuration_leaves_alone_are_not_put_together() {
    let dir = changed(
        "packed_int4",
        |config| config["ignore"] = json!(["lm_head", "re:.*up_proj"]),
        |_, _, _| true,
    );
    let message = error_of(dir.path()).to_string();
    assert!(message.contains("up_proj.weight`") && message.contains("up_proj.weight_packed"), "{message}");
}

//! Low-rank adapters on disk, in the layout of PEFT: `adapter_config.json` and `adapter_model.safetensors`.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use burn::tensor::{DType, Tensor};
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Map, Value, json};

use super::open::Checkpoint;
use super::save::write_tensors;
use super::tensor_files::TensorFiles;
use crate::error::WeightReport;
use crate::families::weight_map::{OutputSlice, TensorPlace};
use crate::fields::Fields;
use crate::files::{read_json, write_bytes};
use crate::transformer::{LoraConfig, Projection, Transformer};
use crate::{Error, FileError};

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";

/// The prefix that PEFT puts before the name of a module.
const PREFIX: &str = "base_model.model.";

/// Adapters as their directory describes them.
#[derive(Debug, Clone, PartialEq)]
pub struct Adapters {
    /// The model that they were trained on: a directory or hub name.
    pub base: String,
    /// Rank and scale; `targets` are the projections that have one.
    pub config: LoraConfig,
    /// Whether the last norm of the model was saved with them, as a module of PEFT's `modules_to_save`.
    pub norm: bool,
}

impl Checkpoint {
    /// The adapters in this directory, if it holds adapters in place of weights.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::MissingField`] or [`Error::InvalidField`] for a configuration that means nothing to ivl.
    pub fn adapters(&self) -> Result<Option<Adapters>, Error> {
        let path = self.path().join(CONFIG);
        if !path.is_file() {
            return Ok(None);
        }
        let json: Map<String, Value> = read_json(&path)?;
        let fields = Fields::new(&json, &path);
        if fields.opt_text("peft_type")? != Some("LORA") {
            return Err(fields.invalid("peft_type", "LORA"));
        }
        for flag in ["use_dora", "use_rslora", "fan_in_fan_out"] {
            if fields.opt_flag(flag)? == Some(true) {
                return Err(fields.invalid(flag, "false: ivl reads plain low-rank adapters"));
            }
        }
        for list in ["rank_pattern", "alpha_pattern", "layers_to_transform", "target_parameters"] {
            let is_empty = |value: &Value| {
                value.is_null()
                    || value.as_array().is_some_and(Vec::is_empty)
                    || value.as_object().is_some_and(Map::is_empty)
            };
            if !json.get(list).is_none_or(is_empty) {
                return Err(
                    fields.invalid(list, "nothing: one rank and scale for every layer, and no other weights")
                );
            }
        }
        let norm = match fields.opt_texts("modules_to_save")?.unwrap_or_default()[..] {
            [] => false,
            [module] if module == self.norm_module() => true,
            _ => {
                let expected = format!("nothing, or the last norm, `{}`", self.norm_module());
                return Err(fields.invalid("modules_to_save", &expected));
            }
        };
        if fields.opt_text("bias")?.is_some_and(|bias| bias != "none") {
            return Err(fields.invalid("bias", "none"));
        }
        let Some(base) = fields.opt_text("base_model_name_or_path")? else {
            return Err(Error::MissingField { path, field: "base_model_name_or_path".to_owned() });
        };
        let rank = fields.size("r")?;
        let names = fields.opt_texts("target_modules")?.unwrap_or_default();
        let modules = modules(self)?;
        if !names.iter().all(|name| modules.iter().any(|(_, module)| is_named(module, name))) {
            return Err(fields.invalid("target_modules", "projections of this model"));
        }
        let is_target = |projection: &Projection| {
            let mut own = modules.iter().filter(|(of, _)| of == projection);
            own.any(|(_, module)| names.iter().any(|name| is_named(module, name)))
        };
        let targets = Projection::ALL.into_iter().filter(is_target).collect();
        let config = LoraConfig { rank, alpha: fields.positive("lora_alpha")?, targets, merge: false };
        Ok(Some(Adapters { base: base.to_owned(), config, norm }))
    }

    /// The tensors of the adapters in this directory.
    ///
    /// # Errors
    /// As [`TensorFiles::open`].
    pub fn adapter_tensors(&self) -> Result<TensorFiles, Error> {
        TensorFiles::open_file(&self.path().join(WEIGHTS))
    }

    /// Adds this directory's adapters to the model that they were trained on; its weights are shared, not copied.
    ///
    /// # Errors
    /// [`Error::InvalidField`] if `base` is a model of another shape, [`Error::Weights`] lists every tensor that is missing, has
    /// another shape, or is not used.
    pub fn load_adapters(&self, base: Transformer, adapters: &Adapters) -> Result<Transformer, Error> {
        if base.config() != self.config() {
            return Err(Error::InvalidField {
                path: self.path().join("config.json"),
                field: "config.json".to_owned(),
                expected: format!("the shape of `{}`, which the adapters were trained on", adapters.base),
                got: "another one".to_owned(),
            });
        }
        let files = self.adapter_tensors()?;
        let mut net = base.with_lora(&adapters.config, 0);
        let parts = if adapters.norm { self.norm_parts() } else { Vec::new() };
        let mut expected: Vec<_> =
            parts.iter().map(|name| (name.clone(), vec![self.config().hidden_size])).collect();
        for (path, [rows, columns]) in net.adapter_shapes() {
            // PEFT stores [output, input].
            expected.push((self.adapter_name(&path)?, vec![columns, rows]));
        }
        let report = shape_report(&files, expected);
        if !report.is_empty() {
            return Err(Error::Weights { dir: self.path().to_owned(), report });
        }
        for (path, [rows, columns]) in net.adapter_shapes() {
            let stored = files.tensor(&self.adapter_name(&path)?)?.numbers(rows * columns);
            let numbers = (0..rows * columns).map(|at| stored[at % columns * rows + at / columns]).collect();
            net.set_adapter(&path, numbers);
        }
        let numbers = |name: &String| Ok(files.tensor(name)?.numbers(self.config().hidden_size));
        let mut parts = parts.iter().map(numbers).collect::<Result<Vec<_>, Error>>()?.into_iter();
        if let Some(weight) = parts.next() {
            net.set_norm(weight, parts.next());
        }
        net.pack_adapters();
        Ok(net)
    }

    /// The name of the last norm's module.
    fn norm_module(&self) -> String {
        let map = (self.family().weights)(self.config());
        let name = map.resolve("norm.weight").name;
        name.strip_suffix(".weight").unwrap_or(&name).to_owned()
    }

    /// The names in the file of weight and bias of the last norm.
    fn norm_parts(&self) -> Vec<String> {
        let module = self.norm_module();
        let bias = self.config().norm.kind.has_bias().then_some("bias");
        let parts = std::iter::once("weight").chain(bias);
        parts.map(|part| format!("{PREFIX}{module}.{part}")).collect()
    }

    /// The name in the file of an adapter's matrix: `blocks.3.mlp.up.lora.down` is `..lora_A.weight`.
    fn adapter_name(&self, path: &str) -> Result<String, Error> {
        let (module, part) = path.split_once(".lora.").unwrap_or((path, ""));
        let map = (self.family().weights)(self.config());
        let TensorPlace { rule, name, .. } = map.resolve(&format!("{module}.weight"));
        if rule.slice != OutputSlice::All || rule.inputs != OutputSlice::All || !rule.transposed {
            return Err(Error::FusedAdapter { family: self.family().model_type, module: module.to_owned() });
        }
        let module = name.strip_suffix(".weight").unwrap_or(&name);
        let letter = if part == "down" { "A" } else { "B" };
        Ok(format!("{PREFIX}{module}.lora_{letter}.weight"))
    }
}

/// What is wrong with a file that should have tensors of these names and shapes, and no others.
fn shape_report(files: &TensorFiles, expected: Vec<(String, Vec<usize>)>) -> WeightReport {
    let (mut report, mut used) = (WeightReport::default(), BTreeSet::new());
    for (name, shape) in expected {
        match files.shape(&name) {
            None => report.missing.push(name),
            Some(got) if got != shape => report.misshapen.push((name, got.to_vec(), shape)),
            Some(_) => {
                used.insert(name);
            }
        }
    }
    report.unused = files.names().filter(|name| !used.contains(*name)).map(str::to_owned).collect();
    report
}

/// The projections of a model with the names of their modules, of all layers.
fn modules(checkpoint: &Checkpoint) -> Result<Vec<(Projection, String)>, Error> {
    let config = checkpoint.config();
    let mut modules = Vec::new();
    for (index, layer) in config.layers.iter().enumerate() {
        for projection in Projection::ALL.into_iter().filter(|projection| projection.is_in(config, layer)) {
            let name = checkpoint.adapter_name(&format!("blocks.{index}.{}.lora.down", projection.path()))?;
            let module = name.trim_start_matches(PREFIX).trim_end_matches(".lora_A.weight").to_owned();
            modules.push((projection, module));
        }
    }
    Ok(modules)
}

/// Whether PEFT takes `module` for a target that is called `name`.
fn is_named(module: &str, name: &str) -> bool {
    module.strip_suffix(name).is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

/// The names in `target_modules` of the projections that are adapted: the last part of a module's name or, where another module
/// has the same, the last two.
fn target_names<'a>(modules: &'a [(Projection, String)], targets: &[Projection]) -> Vec<&'a str> {
    let (adapted, others): (Vec<_>, Vec<_>) =
        modules.iter().partition(|(projection, _)| targets.contains(projection));
    let mut names = Vec::new();
    for (_, module) in adapted {
        let parts = || module.rmatch_indices('.').map(|(dot, _)| &module[dot + 1..]);
        let is_own = |name: &&str| !others.iter().any(|(_, other)| is_named(other, name));
        let name = parts().find(is_own).unwrap_or(module);
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// Writes the adapters of a model in the layout of PEFT, with the `config.json` of their model. `base` names the model
/// that they were trained on.
///
/// # Errors
/// [`Error::File`] if the directory cannot be written, [`Error::FusedAdapter`] for a family whose checkpoints fuse an adapted
/// projection with others: merge such adapters.
pub fn save_adapters(
    net: &Transformer,
    config: &LoraConfig,
    base: &str,
    json: &Map<String, Value>,
    dir: &Path,
) -> Result<(), Error> {
    std::fs::create_dir_all(dir).map_err(FileError::io("create", dir))?;
    let checkpoint = Checkpoint::from_json(dir, json.clone())?;
    let mut tensors: HashMap<String, (Vec<usize>, Vec<u8>)> = HashMap::new();
    let numbers = |tensor: Tensor<1>| -> Vec<f32> {
        tensor.cast(DType::F32).into_data().try_into_vec().expect("numbers that were cast to f32")
    };
    let parameters = net.named_parameters();
    for parameter in parameters.iter().filter(|parameter| parameter.path.contains(".lora.")) {
        let [rows, columns] = parameter.shape[..] else { continue };
        let numbers = numbers(parameter.tensor.clone());
        let at = |stored: usize| numbers[stored % rows * columns + stored / rows];
        let bytes = (0..rows * columns).flat_map(|stored| at(stored).to_le_bytes()).collect();
        tensors.insert(checkpoint.adapter_name(&parameter.path)?, (vec![columns, rows], bytes));
    }
    if net.has_own_norm() {
        // Weight before bias, as the names have them.
        let parts = ["norm.weight", "norm.bias"].into_iter();
        let parts = parts.filter_map(|path| parameters.iter().find(|parameter| parameter.path == path));
        for (name, part) in checkpoint.norm_parts().into_iter().zip(parts) {
            let bytes = numbers(part.tensor.clone()).into_iter().flat_map(f32::to_le_bytes).collect();
            tensors.insert(name, (part.shape.clone(), bytes));
        }
    }
    let modules = modules(&checkpoint)?;
    let targets = target_names(&modules, &config.targets);
    let described = json!({
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": config.rank,
        "lora_alpha": config.alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": false,
        "inference_mode": true,
        "target_modules": targets,
        "modules_to_save": net.has_own_norm().then(|| vec![checkpoint.norm_module()]),
    });
    let views = tensors.iter().map(|(name, (shape, bytes))| {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes);
        view.map(|view| (name.as_str(), view))
    });
    let views: Vec<_> = views.collect::<Result<_, _>>().map_err(|source| Error::Safetensors {
        path: dir.join(WEIGHTS),
        size: 0,
        source,
    })?;
    write_tensors(&dir.join(WEIGHTS), views)?;
    let bytes = |json: &Value| serde_json::to_vec_pretty(json).expect("a JSON object serialises");
    write_bytes(&dir.join(CONFIG), &bytes(&described))?;
    Ok(write_bytes(&dir.join("config.json"), &bytes(&Value::Object(json.clone())))?)
}

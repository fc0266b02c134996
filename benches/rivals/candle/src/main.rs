//! Decoding, fused decoding of two models, and prefill in candle: the rival of `ivl bench` in benches/RESULTS.md.
//!
//!     cargo run --release -- BASE [VALUE] [ROUNDS]
//!
//! BASE and VALUE are Llama checkpoints of one vocabulary (benches/rivals/make_models.py), f32, with caches. After a prompt of 64
//! tokens, 32 steps a round; prefill of 256. Prints the median over the rounds as JSON.

use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::llama::{Cache, Config, Llama, LlamaConfig};

const CONTEXT: usize = 64;
const STEPS: usize = 32;
const PROMPT: usize = 256;

struct Model {
    net: Llama,
    config: Config,
}

impl Model {
    fn load(dir: &Path) -> Result<Self> {
        let config: LlamaConfig = serde_json::from_slice(&std::fs::read(dir.join("config.json"))?)?;
        let config = config.into_config(false);
        let weights = std::fs::read(dir.join("model.safetensors"))?;
        let weights = VarBuilder::from_buffered_safetensors(weights, DType::F32, &Device::Cpu)?;
        Ok(Self { net: Llama::load(weights, &config)?, config })
    }

    fn cache(&self) -> Result<Cache> {
        Ok(Cache::new(true, DType::F32, &self.config, &Device::Cpu)?)
    }
}

fn tokens(count: usize) -> Result<Tensor> {
    let ids: Vec<u32> = (0..count).map(|at| (at * 7919 % 32_000) as u32).collect();
    Ok(Tensor::new(ids, &Device::Cpu)?.unsqueeze(0)?)
}

/// Tokens in a second of all models together, their logits added up.
fn decode(models: &[Model]) -> Result<f64> {
    let mut caches = models.iter().map(Model::cache).collect::<Result<Vec<_>>>()?;
    let mut step = |ids: &Tensor, at: usize| -> Result<Tensor> {
        let mut sum: Option<Tensor> = None;
        for (model, cache) in models.iter().zip(&mut caches) {
            let logits = model.net.forward(ids, at, cache)?;
            sum = Some(match sum {
                Some(sum) => (sum + logits)?,
                None => logits,
            });
        }
        Ok(sum.expect("a model"))
    };
    step(&tokens(CONTEXT)?, 0)?;
    let one = tokens(1)?;
    let began = Instant::now();
    for at in CONTEXT..CONTEXT + STEPS {
        step(&one, at)?.flatten_all()?.to_vec1::<f32>()?;
    }
    Ok(STEPS as f64 / began.elapsed().as_secs_f64())
}

fn prefill(model: &Model) -> Result<f64> {
    let (ids, mut cache) = (tokens(PROMPT)?, model.cache()?);
    let began = Instant::now();
    model.net.forward(&ids, 0, &mut cache)?.flatten_all()?.to_vec1::<f32>()?;
    Ok(PROMPT as f64 / began.elapsed().as_secs_f64())
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let rounds = arguments.last().and_then(|last| last.parse().ok()).unwrap_or(5);
    let dirs = arguments.iter().filter(|argument| argument.parse::<usize>().is_err());
    let models = dirs.map(|dir| Model::load(Path::new(dir))).collect::<Result<Vec<_>>>()?;
    let (mut decoded, mut read) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        decoded.push(decode(&models)?);
        read.push(prefill(&models[0])?);
    }
    println!("{}", serde_json::json!({"decode": median(decoded), "prefill of the first": median(read)}));
    Ok(())
}

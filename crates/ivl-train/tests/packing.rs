//! Packed batches against batches of one example a row, on the small transformers of `fixtures/`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{DType, Device, Tensor};
use ivl_core::{CausalLm, Token, Vocab};
use ivl_models::{Checkpoint, Transformer, TransformerLm};
use ivl_train::{Batch, Batching, DataConfig, Example, Plan, SourceConfig, StepsConfig, ValueLearner};

fn net(name: &str, device: &Device) -> Transformer {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    Checkpoint::open(&path).expect("opens").load(device, DType::F32, &mut |_| ()).expect("loads")
}

fn base() -> TransformerLm {
    let vocab = Vocab::new((0..48u8).map(|id| Some(Token::text([id]))).collect());
    TransformerLm::new(net("base", &Device::flex()), vocab, "base")
}

fn learner() -> ValueLearner {
    ValueLearner::new(net("value", &Device::flex().autodiff()), 0.3, None)
}

/// Lengths from 2 to 30, each with a learnt end.
fn examples() -> Vec<Example> {
    let lens = [7, 30, 2, 14, 9, 21, 3, 17, 11, 5, 26, 4];
    let example = |(row, &len): (usize, &usize)| Example {
        ids: (0..len).map(|i| ((i * i + 5 * row + 3) % 48) as u32).collect(),
        learnt: (0..len).map(|i| i >= len / 3 && i % 5 != 1 || i + 1 == len).collect(),
    };
    lens.iter().enumerate().map(example).collect()
}

struct Gradients<'a>(&'a GradientsParams, BTreeMap<u64, Vec<f32>>);

impl ModuleVisitor for Gradients<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let gradient = self.0.get::<D>(param.id).expect("a gradient");
        self.1.insert(self.1.len() as u64, gradient.into_data().try_into_vec().expect("f32"));
    }
}

/// Loss and gradients of one step, summed over its batches.
fn step(learner: &ValueLearner, batches: Vec<Batch>) -> (f64, Vec<f32>) {
    let (base, mut loss, mut sums) = (base(), 0.0, Vec::new());
    for mut batch in batches {
        batch.base = Some(batch.logits(&base));
        let pass = learner.loss(&batch);
        loss += f64::from(pass.objective.clone().into_scalar::<f32>());
        let gradients = GradientsParams::from_grads(pass.objective.backward(), &learner.value);
        let mut visitor = Gradients(&gradients, BTreeMap::new());
        learner.value.visit(&mut visitor);
        let flat: Vec<f32> = visitor.1.into_values().flatten().collect();
        sums.resize(flat.len(), 0.0);
        sums.iter_mut().zip(flat).for_each(|(sum, gradient)| *sum += gradient);
    }
    (loss, sums)
}

/// The only step of an epoch in which all examples share a step.
fn epoch(batching: Batching, batch_size: usize) -> Vec<Batch> {
    let steps = StepsConfig { epochs: 1, batch_size, accumulation: 12, ..StepsConfig::default() };
    let data = data(batching, 31);
    let plan = Plan::training(Arc::new(examples().into()), &steps, &data, 5);
    assert_eq!(plan.steps(), 1);
    plan.batches().collect::<Result<_, _>>().expect("reads")
}

fn data(batching: Batching, max_length: usize) -> DataConfig {
    let train = vec![SourceConfig::new("unused")];
    DataConfig { train, eval: Vec::new(), max_length, chat_template: None, batching, cache: None }
}

#[test]
fn loss_and_gradients_of_packed_rows_are_those_of_single_examples() {
    let learner = learner();
    let (loss, gradients) = step(&learner, epoch(Batching::Random, 1));
    let packed = epoch(Batching::Packed, 2);
    assert!(packed.iter().map(|batch| batch.rows).sum::<usize>() <= 6, "twelve examples in a few rows");
    assert!(packed.iter().flat_map(|batch| &batch.segments).any(|row| row.len() >= 3));
    let random = epoch(Batching::Random, 4);
    let by_length = epoch(Batching::ByLength, 4);
    for (what, batches) in [("packed", packed), ("in rows", random), ("by length", by_length)] {
        let (other, others) = step(&learner, batches);
        assert!((loss - other).abs() <= 1e-5, "{what}: loss {other}, expected {loss}");
        assert_eq!(gradients.len(), others.len());
        let largest = gradients.iter().map(|gradient| gradient.abs()).fold(0.0, f32::max);
        let worst = gradients.iter().zip(&others).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(largest > 1e-2 && worst <= 1e-5, "{what}: gradients up to {largest} differ by {worst}");
    }
}

#[test]
fn the_check_can_fail() {
    // The same rows without their segments: texts see each other, and the loss is another.
    let learner = learner();
    let (loss, _) = step(&learner, epoch(Batching::Random, 1));
    let mut packed = epoch(Batching::Packed, 2);
    for batch in &mut packed {
        batch.segments = batch.segments.iter().map(|row| vec![row.iter().sum()]).collect();
    }
    let (contaminated, _) = step(&learner, packed);
    assert!((loss - contaminated).abs() > 1e-3, "{loss} and {contaminated}");
}

#[test]
fn a_fused_model_reads_segments_with_all_its_parts() {
    let fused = || {
        let value = ivl_core::Value::new(Box::new(base()), 0.5);
        ivl_core::FusedLm::new(Box::new(base()), vec![value]).expect("one vocabulary")
    };
    let all = examples();
    let packed = Batch::packed(&[vec![&all[0], &all[3], &all[2]]]).logits(&fused());
    let alone = [&all[0], &all[3], &all[2]].map(|example| Batch::new(&[example]).logits(&fused()));
    let numbers = |logits: Tensor<2>| -> Vec<f32> { logits.into_data().try_into_vec().expect("f32") };
    let (packed, alone) = (numbers(packed), alone.map(numbers).concat());
    assert_eq!(packed.len(), alone.len());
    assert!(packed.iter().zip(&alone).all(|(a, b)| (a - b).abs() <= 1e-5));
    assert_eq!(fused().vocab().size(), 48);
}

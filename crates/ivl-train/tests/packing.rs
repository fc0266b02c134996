//! Packed batches against batches of one example a row, on the small transformers of `fixtures/`.

mod fixture;

use std::sync::Arc;

use fixture::{base, gradients_of, net, value, vocab};
use ivl_core::CausalLm;
use ivl_models::TransformerLm;
use ivl_train::{
    BaseTarget, Batch, Batching, DataConfig, Example, LearnerSettings, MicroBatchGradients, Plan,
    SourceConfig, StepsConfig, ValueLearner,
};

fn learner() -> ValueLearner {
    let mut settings = LearnerSettings::default();
    settings.regularization.l1 = 0.3;
    ValueLearner::new(value(), settings)
}

/// Lengths from 2 to 30, each with a trained end.
fn examples() -> Vec<Example> {
    let lens = [7, 30, 2, 14, 9, 21, 3, 17, 11, 5, 26, 4];
    let example = |(row, &len): (usize, &usize)| Example {
        ids: (0..len).map(|i| ((i * i + 5 * row + 3) % 48) as u32).collect(),
        loss_mask: (0..len).map(|i| i >= len / 3 && i % 5 != 1 || i + 1 == len).collect(),
    };
    lens.iter().enumerate().map(example).collect()
}

/// Loss and gradients of one step, summed over its batches.
fn step(learner: &ValueLearner, batches: Vec<Batch>) -> (f64, Vec<f32>) {
    let (base, mut loss, mut sums) = (base("base"), 0.0, Vec::new());
    for batch in batches {
        let target = BaseTarget::new(&base, 1.0, base.map.on(&learner.value.device()));
        let MicroBatchGradients { gradients, losses } =
            learner.gradients(&batch, vec![target], None).expect("in memory");
        let [cross_entropy, l1, ..] = losses.terms[0].read();
        loss += (cross_entropy + 0.3 * l1) / batch.step_tokens as f64;
        let mut gradients: Vec<_> = gradients_of(&learner.value, &gradients).into_iter().collect();
        gradients.sort_by(|(a, _), (b, _)| a.cmp(b));
        let flat: Vec<f32> = gradients.into_iter().flat_map(|(_, gradient)| gradient).collect();
        sums.resize(flat.len(), 0.0);
        sums.iter_mut().zip(flat).for_each(|(sum, gradient)| *sum += gradient);
    }
    (loss, sums)
}

/// The only step of an epoch in which all examples share a step.
fn epoch(batching: Batching, batch_size: usize) -> Vec<Batch> {
    let mut steps = StepsConfig::default();
    (steps.epochs, steps.batch_size, steps.accumulation) = (1, batch_size, 12);
    let data = data(batching, 31);
    let plan = Plan::training(Arc::new(examples().into()), &steps, &data, 5);
    assert_eq!(plan.steps(), 1);
    plan.batches().collect::<Result<_, _>>().expect("reads")
}

fn data(batching: Batching, max_length: usize) -> DataConfig {
    let mut data = DataConfig::new(vec![SourceConfig::new("unused")]);
    (data.batching, data.max_length) = (batching, max_length);
    data
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
    let part = || Box::new(TransformerLm::new(net("base", &burn::tensor::Device::flex()), vocab(), "base"));
    let fused =
        ivl_core::FusedLm::new(part(), vec![ivl_core::Value::new(part(), 0.5)]).expect("one vocabulary");
    let logits = |batch: &Batch| -> Vec<f32> {
        let device = fused.device();
        let mut cache = fused.new_cache(&vec![0; batch.rows]);
        cache.segment(&batch.segments).expect("a list of lengths for each row");
        let positions: Vec<usize> = batch.positions.iter().map(|&position| position as usize).collect();
        let at = ivl_core::causal_lm::Positions::Indices(&positions);
        let logits = fused.select_logits(batch.tokens(&device), at, &mut cache);
        logits.expect("its own cache").all().into_data().try_into_vec().expect("f32")
    };
    let all = examples();
    let packed = logits(&Batch::packed(&[vec![&all[0], &all[3], &all[2]]]));
    let alone = [&all[0], &all[3], &all[2]].map(|example| logits(&Batch::new(&[example]))).concat();
    assert_eq!(packed.len(), alone.len());
    assert!(packed.iter().zip(&alone).all(|(a, b)| (a - b).abs() <= 1e-5));
}

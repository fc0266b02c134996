//! A vocabulary map on a device: value logits brought to the base's ids.

use burn::tensor::{Device, Int, Tensor};

use crate::fusion::MappedLogits;
use crate::vocab::VocabMap;

impl VocabMap {
    /// The map as tensors on a device.
    pub fn on(&self, device: &Device) -> VocabProjection {
        let base_size = self.value_ids().len();
        let same = |(id, value): (usize, &Option<u32>)| value.is_none_or(|value| value as usize == id);
        let same_ids = self.value_ids().iter().enumerate().all(same);
        let unmapped = self.without_value();
        let ids = |fill: &dyn Fn(usize) -> u32| -> Tensor<1, Int> {
            let value_ids = self.value_ids().iter().enumerate();
            let ids: Vec<i32> = value_ids.map(|(id, v)| v.unwrap_or_else(|| fill(id)) as i32).collect();
            Tensor::from_ints(ids.as_slice(), device)
        };
        let floats = |number: &dyn Fn(usize) -> f32| -> Tensor<1> {
            let numbers: Vec<f32> = (0..base_size).map(number).collect();
            Tensor::from_floats(numbers.as_slice(), device)
        };
        let masked = if same_ids {
            unmapped.iter().any(|&id| (id as usize) < self.value_size)
        } else {
            !unmapped.is_empty()
        };
        let missing = (!unmapped.is_empty())
            .then(|| floats(&|id| if self.value_ids()[id].is_some() { 0.0 } else { 1.0 }));
        // A base token that the value cannot read is shown to it as the value's own (untrained) row where there is
        // one, else as a control token.
        let readable = |id: usize| if same_ids && id < self.value_size { id as u32 } else { self.fallback };
        VocabProjection {
            gather: (!same_ids).then(|| ids(&|_| 0)),
            translate: (!same_ids || base_size > self.value_size).then(|| ids(&readable)),
            scale: (masked || self.weights().is_some()).then(|| {
                floats(&|id| if self.value_ids()[id].is_some() { self.weight(id as u32) } else { 0.0 })
            }),
            unmapped: missing.clone().filter(|_| self.neutral && masked),
            missing,
            partial: false,
            base_size,
            value_size: self.value_size,
        }
    }
}

/// A [`VocabMap`] on a device. It does no work where base and value agree on every id.
#[derive(Debug, Clone)]
pub struct VocabProjection {
    gather: Option<Tensor<1, Int>>,
    translate: Option<Tensor<1, Int>>,
    /// 0 where there is no value, the weight where there is one.
    scale: Option<Tensor<1>>,
    /// 1 where there is no value and the neutral one takes its place, 0 where there is one.
    unmapped: Option<Tensor<1>>,
    /// 1 where there is no value, 0 where there is one.
    missing: Option<Tensor<1>>,
    /// The logits themselves say where there is no value: they are minus infinity there.
    partial: bool,
    base_size: usize,
    value_size: usize,
}

impl VocabProjection {
    /// For logits that are the base's ids' already, minus infinity where there is no value.
    pub(crate) fn partial(size: usize) -> Self {
        Self {
            gather: None,
            translate: None,
            scale: None,
            unmapped: None,
            missing: None,
            partial: true,
            base_size: size,
            value_size: size,
        }
    }

    /// [`rows`](Self::rows) with a sequence axis.
    ///
    /// # Shapes
    /// - `value`: `[batch, seq, value_vocab]`
    /// - output: `[batch, seq, base_vocab]`
    pub fn logits(&self, value: Tensor<3>) -> Tensor<3> {
        let [batch, seq, vocab] = value.dims();
        self.rows(value.reshape([batch * seq, vocab])).reshape([batch, seq, self.base_size])
    }

    /// Brings value logits to the base's ids; ids without a value get 0. [`add`](Self::add) adds them.
    ///
    /// # Shapes
    /// - `value`: `[n, value_vocab]`
    /// - output: `[n, base_vocab]`
    pub fn rows(&self, value: Tensor<2>) -> Tensor<2> {
        let count = value.dims()[0];
        let value = match &self.gather {
            Some(ids) => value.select(1, ids.clone()),
            None if self.base_size < self.value_size => value.slice([0..count, 0..self.base_size]),
            None if self.base_size > self.value_size => {
                let extra = [count, self.base_size - self.value_size];
                let zeros = Tensor::zeros(extra, (&value.device(), value.dtype()));
                Tensor::cat(vec![value, zeros], 1)
            }
            None => value,
        };
        match &self.scale {
            Some(scale) => {
                let scale = scale.clone().cast(value.dtype());
                value.mul(scale.unsqueeze())
            }
            None => value,
        }
    }

    /// Adds value logits that were brought to the base's ids: `b + alpha v`. Ids without a value keep the base's logit if
    /// the vocabularies are of one family; between families they get the neutral value, which leaves their joint
    /// probability as the base gave it (`docs/vocabularies.md` derives it).
    ///
    /// # Shapes
    /// - `base`: `[.., base_vocab]`
    /// - `mapped`: the same, from [`logits`](Self::logits) or [`rows`](Self::rows)
    /// - output: the same, in f32
    pub fn add<const D: usize>(&self, base: Tensor<D>, mapped: Tensor<D>, alpha: f64) -> Tensor<D> {
        self.split(mapped).onto(base, alpha)
    }

    /// Mapped logits, with the masks of ids that have none.
    ///
    /// # Shapes
    /// - `mapped` and output: `[.., base_vocab]`
    pub(crate) fn split<const D: usize>(&self, mapped: Tensor<D>) -> MappedLogits<D> {
        if self.partial {
            let silent = mapped.clone().equal_elem(f32::NEG_INFINITY);
            let logits = mapped.mask_fill(silent.clone(), 0.0);
            let silent = silent.float();
            return MappedLogits { logits, unmapped: Some(silent.clone()), missing: Some(silent) };
        }
        let mask = |mask: &Option<Tensor<1>>| mask.clone().map(Tensor::unsqueeze);
        MappedLogits { logits: mapped, unmapped: mask(&self.unmapped), missing: mask(&self.missing) }
    }

    /// A mask that is 1 for every id that gets the neutral value; `None` if there is no such id. Shape `[1, vocab]`.
    pub(crate) fn unmapped_mask(&self) -> Option<Tensor<2>> {
        self.unmapped.clone().map(Tensor::unsqueeze)
    }

    /// Brings the base's token ids to the value's.
    ///
    /// # Shapes
    /// - `tokens` and output: `[batch, seq]`
    pub fn tokens(&self, tokens: Tensor<2, Int>) -> Tensor<2, Int> {
        match &self.translate {
            Some(table) => {
                let dims = tokens.dims();
                table.clone().select(0, tokens.flatten::<1>(0, 1)).reshape(dims)
            }
            None => tokens,
        }
    }
}

//! Which logit of a value speaks about which token of a base.

use burn::tensor::{Device, Int, Tensor};

use crate::error::Error;
use crate::fusion::unmapped::fuse_some;
use crate::vocab::{TokenKind, Vocab};

/// For every id of a base vocabulary, the id of the value vocabulary whose logit is added to it, or none.
///
/// Where base and value cut a text into the same tokens, one map serves both directions of a fusion: value logits are
/// brought to the base's ids, and the base's tokens to the value's ids. Where they cut it differently, the map serves the
/// logits alone, and the value reads the text in its own tokens ([`Value::with_tokenizer`](crate::Value::with_tokenizer)).
///
/// Memory is one number per base id (two with weights), never `|base| x |value|`.
///
/// Ids without a value: between vocabularies of one family ([`same_ids`](Self::same_ids)) the base's logit stands, as
/// in training. Between families they receive the neutral value of [`VocabProjection::add`].
#[derive(Debug, Clone, PartialEq)]
pub struct VocabMap {
    value_of_base: Vec<Option<u32>>,
    weights: Option<Vec<f32>>,
    neutral: bool,
    value_size: usize,
    fallback: u32,
    base_fingerprint: String,
    value_fingerprint: String,
}

impl VocabMap {
    /// The map of two vocabularies in which equal ids mean equal tokens: the only place where vocabularies are compared.
    ///
    /// Compared token by token, since checkpoints of one family pad their embeddings differently. An id that only one
    /// side knows gets no value, and so does a control token that the two sides name differently (reserved slots are
    /// renamed from release to release).
    ///
    /// # Errors
    /// [`Error::VocabMismatch`] if any ordinary token differs or no id is shared.
    pub fn same_ids(base: &Vocab, value: &Vocab) -> Result<Self, Error> {
        let mut differing = (0, None);
        let mut compared = 0;
        let value_of_base: Vec<Option<u32>> = base
            .iter()
            .enumerate()
            .map(|(id, base_token)| {
                let (base_token, value_token) = (base_token?, value.token(id as u32)?);
                compared += 1;
                if base_token == value_token {
                    return Some(id as u32);
                }
                let renamed = base_token.kind == TokenKind::Control && value_token.kind == TokenKind::Control;
                if !renamed {
                    differing.0 += 1;
                    differing.1.get_or_insert((id as u32, base_token, value_token));
                }
                None
            })
            .collect();
        let mismatch = |count, id, base_token: &[u8], value_token: &[u8]| Error::VocabMismatch {
            count,
            compared,
            id,
            base_token: String::from_utf8_lossy(base_token).into_owned(),
            value_token: String::from_utf8_lossy(value_token).into_owned(),
            base: base.fingerprint()[..12].to_owned(),
            value: value.fingerprint()[..12].to_owned(),
        };
        if let (count, Some((id, base_token, value_token))) = differing {
            return Err(mismatch(count, id, &base_token.bytes, &value_token.bytes));
        }
        if value_of_base.iter().all(Option::is_none) {
            return Err(mismatch(0, 0, b"", b""));
        }
        Ok(Self { neutral: false, ..Self::from_parts(value_of_base, base, value) })
    }

    /// A map given as the value id of every base id.
    ///
    /// # Errors
    /// [`Error::ForeignMap`] if the list is not as long as the base's vocabulary, [`Error::TokenOutOfRange`] if it names
    /// an id that the value does not have.
    pub fn new(value_of_base: Vec<Option<u32>>, base: &Vocab, value: &Vocab) -> Result<Self, Error> {
        if value_of_base.len() != base.size() {
            return Err(Error::ForeignMap {
                what: "base vocabulary",
                expected: format!("{} ids", value_of_base.len()),
                got: format!("{} ids", base.size()),
            });
        }
        let outside = |id: &Option<u32>| id.is_some_and(|id| id as usize >= value.size());
        if let Some(position) = value_of_base.iter().position(outside) {
            let id = value_of_base[position].unwrap_or_default();
            return Err(Error::TokenOutOfRange { id, position, size: value.size() });
        }
        Ok(Self::from_parts(value_of_base, base, value))
    }

    /// The same map, in which the logit for base id `i` is multiplied by `weights[i]`: the published method keeps the
    /// normalised counts of its matrix. They scale the value by how often tokens met in a corpus, so no other method
    /// has them.
    ///
    /// # Errors
    /// [`Error::InvalidSetting`] unless there is a finite weight for every base id.
    pub fn with_weights(mut self, weights: Vec<f32>) -> Result<Self, Error> {
        let finite = weights.iter().filter(|weight| weight.is_finite()).count();
        if finite != self.value_of_base.len() || finite != weights.len() {
            return Err(Error::InvalidSetting {
                name: "weights of the vocabulary map",
                expected: "a finite number for every base id",
                got: format!("{finite} finite numbers for {} ids", self.value_of_base.len()),
            });
        }
        self.weights = Some(weights);
        Ok(self)
    }

    fn from_parts(value_of_base: Vec<Option<u32>>, base: &Vocab, value: &Vocab) -> Self {
        let control = value.iter().position(|token| token.is_some_and(|t| t.kind == TokenKind::Control));
        Self {
            value_of_base,
            weights: None,
            neutral: true,
            value_size: value.size(),
            fallback: control.unwrap_or(0) as u32,
            base_fingerprint: base.fingerprint().to_owned(),
            value_fingerprint: value.fingerprint().to_owned(),
        }
    }

    /// Refuses a map that was made for other vocabularies.
    ///
    /// # Errors
    /// [`Error::ForeignMap`].
    pub fn check(&self, base: &Vocab, value: &Vocab) -> Result<(), Error> {
        let pairs = [
            ("base vocabulary", &self.base_fingerprint, base.fingerprint()),
            ("value vocabulary", &self.value_fingerprint, value.fingerprint()),
        ];
        for (what, expected, got) in pairs {
            if expected != got {
                return Err(Error::ForeignMap { what, expected: expected.clone(), got: got.to_owned() });
            }
        }
        let sizes = [
            ("base size", self.value_of_base.len(), base.size()),
            ("value size", self.value_size, value.size()),
        ];
        for (what, expected, got) in sizes {
            if expected != got {
                return Err(Error::ForeignMap { what, expected: expected.to_string(), got: got.to_string() });
            }
        }
        Ok(())
    }

    /// The value id that speaks about a base id.
    pub fn value_id(&self, base_id: u32) -> Option<u32> {
        self.value_of_base.get(base_id as usize).copied().flatten()
    }

    /// What the logit for a base id is multiplied by: 1 unless the map has weights.
    pub fn weight(&self, base_id: u32) -> f32 {
        self.weights.as_ref().and_then(|weights| weights.get(base_id as usize).copied()).unwrap_or(1.0)
    }

    /// The weights, if the map has any.
    pub fn weights(&self) -> Option<&[f32]> {
        self.weights.as_deref()
    }

    /// The value id of every base id.
    pub fn value_ids(&self) -> &[Option<u32>] {
        &self.value_of_base
    }

    /// The fingerprints of the base's and the value's vocabulary.
    pub fn fingerprints(&self) -> (&str, &str) {
        (&self.base_fingerprint, &self.value_fingerprint)
    }

    /// Base ids that get no value, in order.
    pub fn without_value(&self) -> Vec<u32> {
        (0..self.value_of_base.len() as u32).filter(|&id| self.value_id(id).is_none()).collect()
    }

    /// The map as tensors on a device.
    pub fn on(&self, device: &Device) -> VocabProjection {
        let base_size = self.value_of_base.len();
        let same = |(id, value): (usize, &Option<u32>)| value.is_none_or(|value| value as usize == id);
        let same_ids = self.value_of_base.iter().enumerate().all(same);
        let without = self.without_value();
        let ids = |fill: &dyn Fn(usize) -> u32| -> Tensor<1, Int> {
            let ids: Vec<i32> = self
                .value_of_base
                .iter()
                .enumerate()
                .map(|(id, v)| v.unwrap_or_else(|| fill(id)) as i32)
                .collect();
            Tensor::from_ints(ids.as_slice(), device)
        };
        let floats = |number: &dyn Fn(usize) -> f32| -> Tensor<1> {
            let numbers: Vec<f32> = (0..base_size).map(number).collect();
            Tensor::from_floats(numbers.as_slice(), device)
        };
        let masked = if same_ids {
            without.iter().any(|&id| (id as usize) < self.value_size)
        } else {
            !without.is_empty()
        };
        // A base token that the value cannot read is shown to it as the value's own (untrained) row where there is
        // one, else as a control token.
        let readable = |id: usize| if same_ids && id < self.value_size { id as u32 } else { self.fallback };
        VocabProjection {
            gather: (!same_ids).then(|| ids(&|_| 0)),
            translate: (!same_ids || base_size > self.value_size).then(|| ids(&readable)),
            scale: (masked || self.weights.is_some()).then(|| {
                floats(&|id| if self.value_of_base[id].is_some() { self.weight(id as u32) } else { 0.0 })
            }),
            without: (self.neutral && masked)
                .then(|| floats(&|id| if self.value_of_base[id].is_some() { 0.0 } else { 1.0 })),
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
    without: Option<Tensor<1>>,
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
            without: None,
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
        let (value, without) = self.apart(mapped);
        fuse_some(base, value, without, alpha)
    }

    /// Mapped logits as [`fuse_some`] takes them: what is said, and 1 where nothing is; none where all ids have their say or
    /// keep what they have.
    ///
    /// # Shapes
    /// - `mapped` and outputs: `[.., base_vocab]`; the second may have 1 in place of every other axis
    pub(crate) fn apart<const D: usize>(&self, mapped: Tensor<D>) -> (Tensor<D>, Option<Tensor<D>>) {
        if self.partial {
            let silent = mapped.clone().equal_elem(f32::NEG_INFINITY);
            return (mapped.mask_fill(silent.clone(), 0.0), Some(silent.float()));
        }
        (mapped, self.without.clone().map(Tensor::unsqueeze))
    }

    /// 1 for every id that gets the neutral value, 0 for the others; none where all keep what they have. Shape `[1, vocab]`.
    pub(crate) fn without(&self) -> Option<Tensor<2>> {
        self.without.clone().map(Tensor::unsqueeze)
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

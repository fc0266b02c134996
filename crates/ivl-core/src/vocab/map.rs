//! The map from the tokens of a base to the logits of a value.

use crate::error::Error;
use crate::vocab::{TokenKind, Vocab};

/// For every id of a base vocabulary, the id of the value vocabulary whose logit is added to it, or none.
///
/// Where base and value cut a text into the same tokens, one map serves both directions of a fusion: value logits are
/// brought to the base's ids, and the base's tokens to the value's ids. Where they cut it differently, the map serves only the
/// logits, and the value reads the text in its own tokens ([`RetokenizedValue`](crate::cross_tokenizer::RetokenizedValue)).
///
/// Memory is one number per base id (two with weights), never `|base| x |value|`.
///
/// Ids without a value: between vocabularies of one family ([`same_ids`](Self::same_ids)) the base's logit stays, as
/// in training. Between families they receive the neutral value of [`VocabProjection::add`](crate::fusion::VocabProjection::add).
#[derive(Debug, Clone, PartialEq)]
pub struct VocabMap {
    value_of_base: Vec<Option<u32>>,
    weights: Option<Vec<f32>>,
    pub(crate) neutral: bool,
    pub(crate) value_size: usize,
    pub(crate) fallback: u32,
    base_fingerprint: String,
    value_fingerprint: String,
}

impl VocabMap {
    /// The map of two vocabularies in which equal ids mean equal tokens: the only place where vocabularies are compared.
    ///
    /// Compared token by token, by bytes, since checkpoints of one family pad their embeddings differently. An id that only one
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
                if base_token.bytes == value_token.bytes {
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

    /// The value id of a base id.
    pub fn value_id(&self, base_id: u32) -> Option<u32> {
        self.value_of_base.get(base_id as usize).copied().flatten()
    }

    /// The factor of the logit of a base id: 1 unless the map has weights.
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
}

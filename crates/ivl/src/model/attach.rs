//! How a value is attached.

use ivl_core::cross_tokenizer::ByteFusionConfig;
use ivl_core::fusion::LearnedGate;

/// How a value is attached to a base. The defaults are those of the value's card.
///
/// ```
/// let options = ivl::Attach::new().alpha(0.5).map("hybrid");
/// assert_eq!(options.alpha, Some(0.5));
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Attach {
    /// The weight; the card's, else 1, unless set.
    pub alpha: Option<f64>,
    /// For a value of another vocabulary: map files made by `ivl align`, or methods that need no corpus (exact, prefix,
    /// edit-distance, hybrid). The first that leads from the value to the base is used.
    pub maps: Vec<String>,
    /// Fuse a value of another vocabulary over bytes, exactly: the base that the value was trained on.
    pub byte_fusion: Option<String>,
    /// How far byte fusion looks ahead.
    pub byte_fusion_config: ByteFusionConfig,
    /// Adapters of a fine-tuned model, taken as the difference that they make: the logits with them minus those without (proxy
    /// tuning, [arXiv 2401.08565](https://arxiv.org/abs/2401.08565)), in one pass of two rows.
    pub adapter_difference: bool,
    /// The gate that multiplies the value; the card's, if it has one, unless set. [`LearnedGate::ONE`] is no gate.
    pub gate: Option<LearnedGate>,
    /// The name that the value is called by; the last part of its directory's, unless set.
    pub name: Option<String>,
}

impl Attach {
    /// As the value's card says.
    pub fn new() -> Self {
        Self::default()
    }

    /// The weight of the value.
    #[must_use]
    pub fn alpha(mut self, alpha: f64) -> Self {
        self.alpha = Some(alpha);
        self
    }

    /// Adds a map file or a method, for a value of another vocabulary.
    #[must_use]
    pub fn map(mut self, map: impl Into<String>) -> Self {
        self.maps.push(map.into());
        self
    }

    /// Fuses a value of another vocabulary over bytes, by the base that it was trained on.
    #[must_use]
    pub fn byte_fusion(mut self, reference: impl Into<String>) -> Self {
        self.byte_fusion = Some(reference.into());
        self
    }

    /// How far byte fusion looks ahead.
    #[must_use]
    pub fn byte_fusion_config(mut self, config: ByteFusionConfig) -> Self {
        self.byte_fusion_config = config;
        self
    }

    /// Takes adapters of a fine-tuned model as the difference that they make.
    #[must_use]
    pub fn adapter_difference(mut self) -> Self {
        self.adapter_difference = true;
        self
    }

    /// The gate that multiplies the value, in the place of the card's.
    #[must_use]
    pub fn gate(mut self, gate: LearnedGate) -> Self {
        self.gate = Some(gate);
        self
    }

    /// The name that the value is called by.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }
}

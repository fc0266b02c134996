//! How a value is connected to its base.

use serde::{Deserialize, Serialize};

use crate::CascadeInput;

/// The input of a value: the text, or the predictions of its base.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Connection {
    /// It reads the same tokens as the base. The paper's best practice: it transfers better and costs less.
    #[default]
    Residual,
    /// It reads the expected embedding of the base's predictions.
    Cascade,
    /// It reads tokens and predictions in turn: twice the positions.
    CascadeText,
}

impl Connection {
    /// The input of a cascade network, `None` for a residual one.
    pub fn cascade_input(self) -> Option<CascadeInput> {
        match self {
            Self::Residual => None,
            Self::Cascade => Some(CascadeInput::Predictions),
            Self::CascadeText => Some(CascadeInput::TextAndPredictions),
        }
    }
}

//! A tokenised demonstration, with the mask of its loss.

/// A tokenised demonstration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Example {
    /// Token ids.
    pub ids: Vec<u32>,
    /// Whether each token is trained, that is, predicted under the loss.
    pub loss_mask: Vec<bool>,
}

impl Example {
    /// Trained tokens that something precedes: nothing predicts the first token.
    pub fn trained_tokens(&self) -> usize {
        self.loss_mask.iter().skip(1).filter(|&&trained| trained).count()
    }

    /// Its lengths.
    pub fn shape(&self) -> Shape {
        Shape { tokens: self.ids.len() as u32, trained: self.trained_tokens() as u32 }
    }

    /// Cuts the end off.
    pub fn truncate(&mut self, len: usize) {
        self.ids.truncate(len);
        self.loss_mask.truncate(len);
    }
}

/// How long an example is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Its tokens.
    pub tokens: u32,
    /// Those of them that are trained.
    pub trained: u32,
}

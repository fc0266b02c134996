//! How many inputs are rounded together.

use crate::cpu::INPUTS;

/// Neighbouring inputs that share the scale of a row.
pub(crate) const GROUP: usize = 32;

/// Steps of four inputs in a group.
pub(crate) const STEPS: usize = GROUP / INPUTS;

/// Groups whose scales may have a common factor.
pub(super) const SUPER: usize = 8;

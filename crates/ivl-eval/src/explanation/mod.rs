//! Effects of values on texts: token by token, on average, and under gates.

mod gate_curve;
mod heat_map;
mod influence;
mod page;
mod visible;

pub use gate_curve::{GatePoint, GateSignal, gate_curve, most_skipped, skipped_at_random};
pub(crate) use heat_map::HEAT_MAP_STYLE;
pub use heat_map::{heat_map, strength};
pub use influence::{Disagreement, Influence, MeanChange};
pub use page::{ExplainedText, ExplanationPage};
pub use visible::{Visible, visible, visible_line};

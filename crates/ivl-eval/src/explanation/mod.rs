//! Effects of values on texts: token by token, on average, and under gates.

mod gate_curve;
mod heat_map;
mod influence;
mod visible;

pub use gate_curve::{GatePoint, GateSignal, gate_curve, most_skipped, skipped_at_random};
pub use heat_map::{HEAT_MAP_STYLE, heat_map, strength};
pub use influence::{Disagreement, Influence, MeanChange};
pub use visible::{Visible, visible, visible_line};

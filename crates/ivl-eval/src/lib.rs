//! Measuring models: evaluation tasks, what values change, how far they travel, and how sure one can be of the figures.

mod gate_curve;
mod heat_map;
mod html;
mod influence;
mod statistics;
pub mod transfer;
mod visible;

pub use gate_curve::{GatePoint, GateSignal, gate_curve, most_skipped, skipped_at_random};
pub use heat_map::{HEAT_MAP_STYLE, heat_map, strength};
pub use html::{escape, page};
pub use influence::{Disagreement, Effect, Influence};
pub use statistics::{Estimate, Interval, bootstrap, mean};
pub use visible::{Visible, visible, visible_line};

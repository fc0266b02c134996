//! Measuring models: evaluation tasks, what values change, how far they travel, and how sure one can be of the figures.

mod heat_map;
mod html;
mod statistics;
mod visible;

pub use heat_map::{HEAT_MAP_STYLE, heat_map, strength};
pub use html::{escape, page};
pub use statistics::{Estimate, Interval, bootstrap, mean};
pub use visible::{Visible, visible, visible_line};

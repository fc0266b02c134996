//! Products of rows with weights in blocks, as sums of whole numbers.
//!
//! A row is rounded to signed bytes, with a scale for each 32 neighbouring numbers; its products with the codes of a weight
//! block are exact whole numbers, and only their sums are multiplied with scales:
//!
//! ```text
//! y = sum over groups of  scale_w scale_x (sum of codes_w codes_x) - min_w scale_x (sum of codes_x)
//! ```
//!
//! The groups follow in their order, so that a row gives the same bits whatever shares its batch, at each level of instructions
//! that has a fused multiply-add.

mod aligned_codes;
mod coding;
mod group;
mod layout;
mod multiply;
mod panels;
mod rows;
mod scaling;
mod tiles;

pub(crate) use group::{GROUP, STEPS};
pub(crate) use multiply::{ONE_ROW_PANELS, PanelsUnit, integer_rows_in_registers};
pub(crate) use panels::{BlockPanels, quantize_row};
pub(crate) use rows::{IntegerRows, round_group};

//! One verb for each file.

pub mod align;
pub mod data;
pub mod eval;
pub mod generate;
pub mod inspect;
pub mod score;
pub mod serve;
pub mod train;

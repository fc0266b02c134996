//! One verb for each file.

pub mod align;
pub mod bench;
pub mod data;
pub mod generate;
pub mod inspect;
pub mod score;
pub mod serve;
pub mod train;

//! One verb for each file.

pub mod align;
pub mod bench;
pub mod chat;
pub mod convert;
pub mod data;
pub mod demo;
pub mod distill;
pub mod eval;
pub mod explain;
pub mod export;
pub mod gate;
pub mod generate;
pub mod inspect;
pub mod parity;
pub mod score;
pub mod serve;
pub mod train;
pub mod transfer;

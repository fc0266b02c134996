//! The Criterion suite: `cargo bench -p ivl-bench`. Each benchmark has a floor or a rival beside it in the same group.

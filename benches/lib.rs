//! Shapes shared by the benches.

//! House rules, as tests: who may depend on whom, which modules may use each other, what files, names and pages must be.

mod circles;
mod dependencies;
mod files;
mod modules;
mod names;
mod pages;
mod workspace;

//! Calls of tools: how models write them, how they are read from an answer, and how an answer is made to have some.

mod call;
mod format;
mod grammar;
mod parameters;
mod stream;

pub(crate) use call::ToolCall;
pub(crate) use format::ToolFormat;
pub(crate) use grammar::{ForcedCalls, call_grammar};
pub(crate) use stream::ToolStream;

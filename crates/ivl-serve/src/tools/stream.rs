//! Calls and the text around them, told apart as the text comes.

use std::sync::Arc;

use serde_json::Value;

use super::call::ToolCall;
use super::format::ToolFormat;

/// Separates calls from the text around them, as it comes.
#[derive(Debug, Clone)]
pub(crate) struct ToolStream {
    format: ToolFormat,
    tools: Arc<[Value]>,
    /// Calls beyond this number are left out.
    most_calls: usize,
    /// Text that may be a call.
    held: String,
    /// Whether some text was released: then the answer is not a call of Llama's.
    began: bool,
}

impl ToolStream {
    pub(crate) fn new(format: ToolFormat, tools: &[Value]) -> Self {
        Self { format, tools: tools.into(), most_calls: usize::MAX, held: String::new(), began: false }
    }

    /// The same with a bound on the calls.
    #[must_use]
    pub(crate) fn with_most_calls(self, most_calls: usize) -> Self {
        Self { most_calls, ..self }
    }

    /// Whether a control token of this name is part of a call, so that its name belongs to the text.
    pub(crate) fn is_mark(&self, name: &str) -> bool {
        self.format.control_names().contains(&name)
    }

    /// Takes more text; returns what is certainly no call.
    pub(crate) fn push(&mut self, text: &str) -> String {
        self.held.push_str(text);
        let keep_from = self.call_start().unwrap_or(self.held.len());
        let rest = self.held.split_off(keep_from);
        let released = std::mem::replace(&mut self.held, rest);
        self.began |= !released.trim().is_empty();
        released
    }

    /// Where a call begins in the held text, or could begin.
    fn call_start(&self) -> Option<usize> {
        let mark = self.format.mark();
        let bare = self.format == ToolFormat::Llama && !self.began;
        let json = || {
            self.held
                .find(|letter: char| !letter.is_whitespace())
                .filter(|&at| self.held[at..].starts_with('{'))
        };
        self.held.find(mark).or_else(|| json().filter(|_| bare)).or_else(|| {
            let mut starts = mark.char_indices().map(|(at, _)| &mark[..at]).rev();
            let start = starts.find(|start| !start.is_empty() && self.held.ends_with(start))?;
            Some(self.held.len() - start.len())
        })
    }

    /// The end of the text: the rest of it, and the calls. What is not well formed is text.
    pub(crate) fn finish(&mut self) -> (String, Vec<ToolCall>) {
        let held = std::mem::take(&mut self.held);
        match self.format.parse(&held, &self.tools).filter(|calls| !calls.is_empty()) {
            Some(mut calls) => {
                calls.truncate(self.most_calls);
                (String::new(), calls)
            }
            None => (held, Vec::new()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Text and calls (name, arguments) of a text that comes in pieces of three characters.
    fn read(format: ToolFormat, text: &str) -> (String, Vec<(String, String)>) {
        let tools = [json!({"type": "function", "function": {"name": "f", "parameters": {
            "type": "object", "properties": {
                "a": {"type": "integer"}, "b": {"type": "string"}, "c": {"type": "array"}, "d": {"type": "boolean"},
            },
        }}})];
        let mut stream = ToolStream::new(format, &tools);
        let mut content = String::new();
        let letters: Vec<char> = text.chars().collect();
        for piece in letters.chunks(3) {
            content += &stream.push(&piece.iter().collect::<String>());
        }
        let (rest, calls) = stream.finish();
        (content + &rest, calls.into_iter().map(|call| (call.name, call.arguments)).collect())
    }

    fn call(name: &str, arguments: &str) -> (String, String) {
        (name.to_owned(), arguments.to_owned())
    }

    #[test]
    fn calls_are_found_in_every_format() {
        let hermes = "I look.\n<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}}\n</tool_call>\n<tool_call>\n{\"name\": \"g\", \"arguments\": {}}\n</tool_call>";
        assert_eq!(
            read(ToolFormat::Hermes, hermes),
            ("I look.\n".to_owned(), vec![call("f", "{\"a\":1}"), call("g", "{}")])
        );
        let both = vec![call("f", "{\"a\":1}"), call("g", "{\"x\":\"y\"}")];
        let only = |calls: &[(String, String)]| (String::new(), calls.to_vec());
        for (format, text) in [
            (
                ToolFormat::Mistral,
                "[TOOL_CALLS][{\"name\": \"f\", \"arguments\": {\"a\": 1}}, {\"name\": \"g\", \"arguments\": {\"x\": \"y\"}}]",
            ),
            (ToolFormat::MistralArgs, "[TOOL_CALLS]f[ARGS]{\"a\": 1}[TOOL_CALLS]g[ARGS]{\"x\": \"y\"}"),
            (ToolFormat::Mistral, "[TOOL_CALLS]f{\"a\": 1}[TOOL_CALLS]g{\"x\": \"y\"}"),
            (
                ToolFormat::List,
                "<|tool_call|>[{\"name\": \"f\", \"arguments\": {\"a\": 1}}, {\"name\": \"g\", \"arguments\": {\"x\": \"y\"}}]<|/tool_call|>",
            ),
            (
                ToolFormat::DeepSeekFenced,
                "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n{\"a\": 1}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>g\n```json\n{\"x\": \"y\"}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
            ),
            (
                ToolFormat::DeepSeek,
                "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>{\"a\": 1}<｜tool▁call▁end｜><｜tool▁call▁begin｜>g<｜tool▁sep｜>{\"x\": \"y\"}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
            ),
            (
                ToolFormat::Json,
                "[{\"name\": \"f\", \"parameters\": {\"a\": 1}}, {\"name\": \"g\", \"parameters\": {\"x\": \"y\"}}]",
            ),
        ] {
            assert_eq!(read(format, text), only(&both), "{format:?}");
        }
        for llama in [
            "{\"name\": \"f\", \"parameters\": {\"a\": 1}}",
            "<|python_tag|>{\"name\": \"f\", \"parameters\": {\"a\": 1}}",
        ] {
            assert_eq!(read(ToolFormat::Llama, llama), only(&both[..1]));
        }
    }

    /// The types of `qwen3coder_tool_parser` of vLLM.
    #[test]
    fn arguments_in_xml_have_the_types_of_the_schema() {
        let text = "Now.\n<tool_call>\n<function=f>\n<parameter=a>\n1\n</parameter>\n<parameter=b>\n1\n2 <b>\n</parameter>\n\
                    <parameter=c>\n[1, {\"x\": null}]\n</parameter>\n<parameter=d>\nTrue\n</parameter>\n<parameter=e>\n7\n</parameter>\n\
                    </function>\n</tool_call>";
        let arguments = r#"{"a":1,"b":"1\n2 <b>","c":[1,{"x":null}],"d":true,"e":"7"}"#;
        assert_eq!(read(ToolFormat::QwenXml, text), ("Now.\n".to_owned(), vec![call("f", arguments)]));
        let bare = "<tool_call>\n<function=g>\n</function>\n</tool_call>";
        assert_eq!(read(ToolFormat::QwenXml, bare), (String::new(), vec![call("g", "{}")]));
    }

    #[test]
    fn what_is_no_call_is_text() {
        for (format, text) in [
            (ToolFormat::Hermes, "a < b and <tool_cal"),
            (ToolFormat::Hermes, "<tool_call>{\"name\": </tool_call>"),
            (ToolFormat::QwenXml, "<tool_call>{\"name\": \"f\"}</tool_call>"),
            (ToolFormat::QwenXml, "<tool_call>\n<function=f>\n<parameter=b>\ncut"),
            (ToolFormat::Mistral, "[TOOL_CALLS]f"),
            (ToolFormat::DeepSeek, "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f"),
            (ToolFormat::Llama, "{\"name\": 3}"),
            (ToolFormat::Llama, "See {\"name\": \"f\", \"parameters\": {}}"),
            (ToolFormat::Json, "[{\"name\": \"f\", \"param"),
        ] {
            assert_eq!(read(format, text), (text.to_owned(), Vec::new()));
        }
    }

    #[test]
    fn text_is_released_as_soon_as_it_is_certain() {
        let mut stream = ToolStream::new(ToolFormat::Hermes, &[]);
        assert_eq!(stream.push("a < b <tool"), "a < b ");
        assert_eq!(stream.push("s> c"), "<tools> c");
    }
}

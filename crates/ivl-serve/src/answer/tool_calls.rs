//! Calls of tools in the text of an answer, in the formats of common chat templates.

use serde_json::{Value, json};

/// How a model writes a call. Models learn the format of their template, so the template tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ToolFormat {
    /// `<tool_call>{"name": .., "arguments": {..}}</tool_call>`: Hermes, Qwen 2.5, Qwen 3.
    Hermes,
    /// `[TOOL_CALLS][{"name": .., "arguments": {..}}]`: Mistral.
    Mistral,
    /// `{"name": .., "parameters": {..}}` as the whole answer: Llama 3.1 and later.
    Llama,
}

impl ToolFormat {
    /// The format that a template describes; `None` if it describes another one.
    pub(crate) fn of(template: &str) -> Option<Self> {
        let has = |text: &str| template.contains(text);
        // Qwen 3 Coder writes its calls between the same tags, as XML.
        if has("<tool_call>") {
            return (!has("<function=")).then_some(Self::Hermes);
        }
        if has("[TOOL_CALLS]") {
            return Some(Self::Mistral);
        }
        (has("<|python_tag|>") || has("\"parameters\"") && has("ipython")).then_some(Self::Llama)
    }

    /// What begins a call; it may be a control token.
    fn mark(self) -> &'static str {
        match self {
            Self::Hermes => "<tool_call>",
            Self::Mistral => "[TOOL_CALLS]",
            Self::Llama => "<|python_tag|>",
        }
    }

    /// An id as the template wants it.
    fn call_id(self) -> String {
        match self {
            // Mistral's templates accept nine letters and digits only.
            Self::Mistral => format!("{:09x}", rand::random::<u64>() & 0xf_ffff_ffff),
            _ => format!("call_{:024x}", rand::random::<u128>() >> 32),
        }
    }

    /// The calls of a text from the first mark on; `None` if they are not well formed.
    fn parse(self, text: &str) -> Option<Vec<ToolCall>> {
        match self {
            Self::Hermes => text
                .split(self.mark())
                .map(|block| block.split("</tool_call>").next().unwrap_or_default().trim())
                .filter(|block| !block.is_empty())
                .map(|block| self.call(&serde_json::from_str(block).ok()?, "arguments"))
                .collect(),
            Self::Mistral => {
                let list: Value = serde_json::from_str(text.strip_prefix(self.mark())?.trim()).ok()?;
                list.as_array()?.iter().map(|call| self.call(call, "arguments")).collect()
            }
            Self::Llama => {
                let text = text.trim().trim_start_matches(self.mark());
                let calls = serde_json::Deserializer::from_str(text).into_iter::<Value>();
                calls.map(|call| self.call(&call.ok()?, "parameters")).collect()
            }
        }
    }

    fn call(self, call: &Value, arguments: &str) -> Option<ToolCall> {
        let name = call.get("name")?.as_str()?.to_owned();
        let arguments = match call.get(arguments).or_else(|| call.get("arguments")) {
            Some(Value::String(text)) => text.clone(),
            Some(value @ Value::Object(_)) => value.to_string(),
            _ => return None,
        };
        Some(ToolCall { id: self.call_id(), name, arguments })
    }
}

/// A call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ToolCall {
    id: String,
    name: String,
    /// JSON as text, as the OpenAI API has it.
    arguments: String,
}

impl ToolCall {
    /// As an answer has it; `index` in a stream.
    pub(super) fn json(&self, index: Option<usize>) -> Value {
        let mut call = json!({
            "id": self.id, "type": "function", "function": {"name": self.name, "arguments": self.arguments},
        });
        if let Some(index) = index {
            call["index"] = index.into();
        }
        call
    }
}

/// Separates calls from the text around them, as it comes.
#[derive(Debug, Clone)]
pub(super) struct ToolStream {
    format: ToolFormat,
    /// Text that may be a call.
    held: String,
    /// Whether some text was released: then the answer is not a call of Llama's.
    began: bool,
}

impl ToolStream {
    pub(super) fn new(format: ToolFormat) -> Self {
        Self { format, held: String::new(), began: false }
    }

    /// Whether a control token of this name begins a call, so that its name belongs to the text.
    pub(super) fn is_mark(&self, name: &str) -> bool {
        self.format.mark() == name
    }

    /// Takes more text; returns what is certainly no call.
    pub(super) fn push(&mut self, text: &str) -> String {
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
            (1..mark.len())
                .rev()
                .map(|len| &mark[..len])
                .find(|start| self.held.ends_with(start))
                .map(|start| self.held.len() - start.len())
        })
    }

    /// The end of the text: the rest of it, and the calls. What is not well formed is text.
    pub(super) fn finish(&mut self) -> (String, Vec<ToolCall>) {
        let held = std::mem::take(&mut self.held);
        match self.format.parse(&held).filter(|calls| !calls.is_empty()) {
            Some(calls) => (String::new(), calls),
            None => (held, Vec::new()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Text and calls (name, arguments) of a text that comes in pieces of three bytes.
    fn read(format: ToolFormat, text: &str) -> (String, Vec<(String, String)>) {
        let mut stream = ToolStream::new(format);
        let mut content = String::new();
        for piece in text.as_bytes().chunks(3) {
            content += &stream.push(std::str::from_utf8(piece).expect("ASCII"));
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
        let mistral = "[TOOL_CALLS][{\"name\": \"f\", \"arguments\": {\"a\": \"b\"}}]";
        assert_eq!(read(ToolFormat::Mistral, mistral), (String::new(), vec![call("f", "{\"a\":\"b\"}")]));
        for llama in [
            "{\"name\": \"f\", \"parameters\": {\"a\": 1}}",
            "<|python_tag|>{\"name\": \"f\", \"parameters\": {\"a\": 1}}",
        ] {
            assert_eq!(read(ToolFormat::Llama, llama), (String::new(), vec![call("f", "{\"a\":1}")]));
        }
    }

    #[test]
    fn what_is_no_call_is_text() {
        for (format, text) in [
            (ToolFormat::Hermes, "a < b and <tool_cal"),
            (ToolFormat::Hermes, "<tool_call>{\"name\": </tool_call>"),
            (ToolFormat::Mistral, "[TOOL_CALLS]f"),
            (ToolFormat::Llama, "{\"name\": 3}"),
            (ToolFormat::Llama, "See {\"name\": \"f\", \"parameters\": {}}"),
        ] {
            assert_eq!(read(format, text), (text.to_owned(), Vec::new()));
        }
    }

    #[test]
    fn text_is_released_as_soon_as_it_is_certain() {
        let mut stream = ToolStream::new(ToolFormat::Hermes);
        assert_eq!(stream.push("a < b <tool"), "a < b ");
        assert_eq!(stream.push("s> c"), "<tools> c");
    }

    #[test]
    fn a_template_tells_the_format() {
        let of = ToolFormat::of;
        assert_eq!(of("within <tool_call></tool_call> tags"), Some(ToolFormat::Hermes));
        assert_eq!(of("<tool_call>\n<function=name>"), None);
        assert_eq!(of("{{ '[TOOL_CALLS]' }}"), Some(ToolFormat::Mistral));
        assert_eq!(of("{{ '<|python_tag|>' }}"), Some(ToolFormat::Llama));
        assert_eq!(of("{{ message.content }}"), None);
        assert_eq!(ToolFormat::Mistral.call_id().len(), 9);
    }
}

//! The formats in which models write calls.

use serde_json::{Deserializer, Value};

use super::call::ToolCall;
use super::parameters::{function_name, typed_arguments};

/// How a model writes a call. Models learn the format of their template, so the template tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ToolFormat {
    /// `<tool_call>{"name": .., "arguments": {..}}</tool_call>`: Hermes, Qwen 2.5, Qwen 3.
    Hermes,
    /// `<tool_call><function=NAME><parameter=KEY>..</parameter></function></tool_call>`: Qwen 3 Coder.
    QwenXml,
    /// `[TOOL_CALLS][{"name": .., "arguments": {..}}]`: Mistral.
    Mistral,
    /// `[TOOL_CALLS]NAME[ARGS]{..}`: Mistral since its eleventh tokenizer.
    MistralArgs,
    /// `<|tool_call|>[{"name": .., "arguments": {..}}]`: Granite 3, Phi 4 Mini.
    List,
    /// `<｜tool▁calls▁begin｜>`, calls with their arguments in a code block, `<｜tool▁calls▁end｜>`: DeepSeek V3 and R1.
    DeepSeekFenced,
    /// The same with bare arguments: DeepSeek V3.1.
    DeepSeek,
    /// `{"name": .., "parameters": {..}}` as the whole answer: Llama 3.1 and later.
    Llama,
    /// `[{"name": .., "parameters": {..}}]` as the whole answer: no format that a template tells, but one that an answer can be
    /// made to have.
    Json,
}

/// The text around the parts of calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CallSyntax {
    /// Before the first call.
    pub(super) open: &'static str,
    pub(super) before_name: &'static str,
    pub(super) before_arguments: &'static str,
    pub(super) after_arguments: &'static str,
    /// Between two calls; none where there can be but one.
    pub(super) separator: Option<&'static str>,
    /// After the last call.
    pub(super) close: &'static str,
}

impl ToolFormat {
    /// The format that a template describes; `None` if it describes none that is known.
    pub(crate) fn of(template: &str) -> Option<Self> {
        let has = |text: &str| template.contains(text);
        // Qwen 3 Coder writes its calls between the same tags, as XML.
        let marks = [
            (has("<tool_call>") && has("<function="), Self::QwenXml),
            // GLM writes names and arguments between tags of its own there.
            (has("<tool_call>") && !has("<arg_key>"), Self::Hermes),
            (has("[TOOL_CALLS]") && has("[ARGS]"), Self::MistralArgs),
            (has("[TOOL_CALLS]"), Self::Mistral),
            (has("<|tool_call|>") || has("<|/tool|>"), Self::List),
            (has("<｜tool▁calls▁begin｜>") && has("```json"), Self::DeepSeekFenced),
            (has("<｜tool▁calls▁begin｜>"), Self::DeepSeek),
            (has("<|python_tag|>") || has("\"parameters\"") && has("ipython"), Self::Llama),
        ];
        marks.into_iter().find_map(|(found, format)| found.then_some(format))
    }

    /// How calls are written.
    pub(super) fn syntax(self) -> CallSyntax {
        let json = CallSyntax {
            open: "[",
            before_name: "{\"name\": ",
            before_arguments: ", \"arguments\": ",
            after_arguments: "}",
            separator: Some(", "),
            close: "]",
        };
        let deepseek = CallSyntax {
            open: "<｜tool▁calls▁begin｜>",
            before_name: "<｜tool▁call▁begin｜>",
            before_arguments: "<｜tool▁sep｜>",
            after_arguments: "<｜tool▁call▁end｜>",
            separator: Some(""),
            close: "<｜tool▁calls▁end｜>",
        };
        let tagged = CallSyntax { open: "", close: "", separator: Some("\n"), ..json };
        match self {
            Self::Hermes => CallSyntax {
                before_name: "<tool_call>\n{\"name\": ",
                after_arguments: "}\n</tool_call>",
                ..tagged
            },
            Self::QwenXml => CallSyntax {
                before_name: "<tool_call>\n<function=",
                before_arguments: ">\n",
                after_arguments: "</function>\n</tool_call>",
                ..tagged
            },
            Self::Mistral => CallSyntax { open: "[TOOL_CALLS][", ..json },
            Self::MistralArgs => CallSyntax {
                open: "",
                before_name: "[TOOL_CALLS]",
                before_arguments: "[ARGS]",
                after_arguments: "",
                separator: Some(""),
                close: "",
            },
            Self::List => CallSyntax { open: "<|tool_call|>[", ..json },
            Self::DeepSeekFenced => CallSyntax {
                before_name: "<｜tool▁call▁begin｜>function<｜tool▁sep｜>",
                before_arguments: "\n```json\n",
                after_arguments: "\n```<｜tool▁call▁end｜>",
                separator: Some("\n"),
                ..deepseek
            },
            Self::DeepSeek => deepseek,
            Self::Llama => CallSyntax {
                open: "",
                before_arguments: ", \"parameters\": ",
                separator: None,
                close: "",
                ..json
            },
            Self::Json => CallSyntax { before_arguments: ", \"parameters\": ", ..json },
        }
    }

    /// Whether names of functions are JSON strings.
    pub(super) fn quotes_names(self) -> bool {
        matches!(self, Self::Hermes | Self::Mistral | Self::List | Self::Llama | Self::Json)
    }

    /// What begins a call; it may be a control token. Nothing where the whole answer is calls.
    pub(super) fn mark(self) -> &'static str {
        match self {
            Self::Hermes | Self::QwenXml => "<tool_call>",
            Self::Mistral | Self::MistralArgs => "[TOOL_CALLS]",
            Self::List => "<|tool_call|>",
            Self::DeepSeekFenced | Self::DeepSeek => "<｜tool▁calls▁begin｜>",
            Self::Llama => "<|python_tag|>",
            Self::Json => "",
        }
    }

    /// Names of control tokens that calls may consist of.
    pub(super) fn control_names(self) -> &'static [&'static str] {
        match self {
            Self::Hermes | Self::QwenXml => &["<tool_call>", "</tool_call>"],
            Self::Mistral | Self::MistralArgs => &["[TOOL_CALLS]", "[ARGS]"],
            Self::List => &["<|tool_call|>", "<|/tool_call|>"],
            Self::DeepSeekFenced | Self::DeepSeek => &[
                "<｜tool▁calls▁begin｜>",
                "<｜tool▁call▁begin｜>",
                "<｜tool▁sep｜>",
                "<｜tool▁call▁end｜>",
                "<｜tool▁calls▁end｜>",
            ],
            Self::Llama => &["<|python_tag|>"],
            Self::Json => &[],
        }
    }

    /// An id as the template wants it.
    fn call_id(self) -> String {
        match self {
            // Mistral's templates accept nine letters and digits only.
            Self::Mistral | Self::MistralArgs => format!("{:09x}", rand::random::<u64>() & 0xf_ffff_ffff),
            _ => format!("call_{:024x}", rand::random::<u128>() >> 32),
        }
    }

    /// The calls of a text from the first mark on; `None` if they are not well formed. `tools` tell the types of arguments that are
    /// not written as JSON.
    pub(super) fn parse(self, text: &str, tools: &[Value]) -> Option<Vec<ToolCall>> {
        match self {
            Self::Hermes => tagged(text).map(|block| self.call(&serde_json::from_str(block).ok()?)).collect(),
            Self::QwenXml => tagged(text).map(|block| self.xml_call(block, tools)).collect(),
            Self::Mistral | Self::MistralArgs => match text.strip_prefix(self.mark())?.trim() {
                list if list.starts_with('[') => self.list(list),
                calls => calls.split(self.mark()).map(|call| self.call_with_args(call)).collect(),
            },
            Self::List => {
                let list = text.trim().trim_start_matches(self.mark()).trim_end();
                self.list(list.trim_end_matches("<|/tool_call|>").trim())
            }
            Self::DeepSeekFenced | Self::DeepSeek => {
                let calls = text.split("<｜tool▁call▁begin｜>").skip(1);
                calls.map(|call| self.separated_call(call.split("<｜tool▁call▁end｜>").next()?)).collect()
            }
            Self::Llama => {
                let text = text.trim().trim_start_matches(self.mark());
                let calls = Deserializer::from_str(text).into_iter::<Value>();
                calls.map(|call| self.call(&call.ok()?)).collect()
            }
            Self::Json => self.list(text.trim()),
        }
    }

    fn call(self, call: &Value) -> Option<ToolCall> {
        ToolCall::from_json(self.call_id(), call)
    }

    fn list(self, text: &str) -> Option<Vec<ToolCall>> {
        let list: Value = serde_json::from_str(text).ok()?;
        list.as_array()?.iter().map(|call| self.call(call)).collect()
    }

    /// `NAME[ARGS]{..}` or `NAME{..}`.
    fn call_with_args(self, text: &str) -> Option<ToolCall> {
        let (name, arguments) = text.split_at(text.find(['[', '{'])?);
        self.named_call(name.trim(), arguments.trim_start_matches("[ARGS]"))
    }

    /// `NAME<｜tool▁sep｜>{..}`, or `function<｜tool▁sep｜>NAME` and a block of JSON.
    fn separated_call(self, text: &str) -> Option<ToolCall> {
        let (before, after) = text.split_once("<｜tool▁sep｜>")?;
        let fenced = after.split_once("```json").map(|(name, block)| (name, block.split("```").next()));
        match fenced {
            Some((name, block)) => self.named_call(name.trim(), block?),
            None => self.named_call(before.trim(), after),
        }
    }

    fn named_call(self, name: &str, arguments: &str) -> Option<ToolCall> {
        let arguments: Value = serde_json::from_str(arguments.trim()).ok()?;
        let is_name = !name.is_empty() && !name.contains(char::is_whitespace);
        Some(ToolCall::new(self.call_id(), name, arguments.as_object().filter(|_| is_name)?.clone()))
    }

    fn xml_call(self, block: &str, tools: &[Value]) -> Option<ToolCall> {
        let (name, body) = block.split_once("<function=")?.1.split_once('>')?;
        // A call that was cut is no call.
        let (body, _) = body.split_once("</function>")?;
        let tool = tools.iter().find(|tool| function_name(tool) == name);
        let parameter = |part: &'_ str| {
            let (name, value) = part.split_once('>')?;
            let value = &value[..value.rfind("</parameter>").unwrap_or(value.len())];
            let value = value.strip_prefix('\n').unwrap_or(value);
            Some((name.to_owned(), value.strip_suffix('\n').unwrap_or(value).to_owned()))
        };
        let texts: Vec<(String, String)> =
            body.split("<parameter=").skip(1).map(parameter).collect::<Option<_>>()?;
        let texts = texts.iter().map(|(name, text)| (name.as_str(), text.as_str()));
        Some(ToolCall::new(self.call_id(), name.trim(), typed_arguments(tool, texts)))
    }
}

/// What stands between the tags of calls; an end may be missing.
fn tagged(text: &str) -> impl Iterator<Item = &str> {
    text.split("<tool_call>")
        .map(|block| block.split("</tool_call>").next().unwrap_or_default().trim())
        .filter(|block| !block.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_tells_the_format() {
        let of = ToolFormat::of;
        assert_eq!(of("within <tool_call></tool_call> tags"), Some(ToolFormat::Hermes));
        assert_eq!(of("<tool_call>\n<function=name>"), Some(ToolFormat::QwenXml));
        assert_eq!(of("<tool_call>name\n<arg_key>k</arg_key>"), None);
        assert_eq!(of("{{ '[TOOL_CALLS]' }}"), Some(ToolFormat::Mistral));
        assert_eq!(of("{{ '[TOOL_CALLS]' + name + '[ARGS]' }}"), Some(ToolFormat::MistralArgs));
        assert_eq!(of("{{ '<|tool_call|>' }}"), Some(ToolFormat::List));
        assert_eq!(of("<｜tool▁calls▁begin｜>\n```json"), Some(ToolFormat::DeepSeekFenced));
        assert_eq!(of("<｜tool▁calls▁begin｜>"), Some(ToolFormat::DeepSeek));
        assert_eq!(of("{{ '<|python_tag|>' }}"), Some(ToolFormat::Llama));
        assert_eq!(of("{{ message.content }}"), None);
        assert_eq!(ToolFormat::Mistral.call_id().len(), 9);
    }
}

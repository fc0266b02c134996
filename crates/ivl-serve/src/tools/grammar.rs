//! The grammar of an answer that consists of calls, in llguidance's dialect of Lark.

use std::fmt::Write;

use serde_json::Value;

use super::format::ToolFormat;
use super::parameters::{Parameter, ParameterKind, function_name, parameters, schema};
use crate::constraint::with_few_blanks;

/// What follows a parameter in XML.
const END_OF_PARAMETER: &str = "\n</parameter>\n";

/// The calls that an answer has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ForcedCalls {
    /// One, of any of the tools.
    One,
    /// One or more.
    Many,
}

/// A grammar of nothing but calls of these tools. `control_id` is the id of a control token of some name, if there is one.
pub(crate) fn call_grammar(
    format: ToolFormat,
    tools: &[&Value],
    calls: ForcedCalls,
    control_id: &dyn Fn(&str) -> Option<u32>,
) -> String {
    let syntax = format.syntax();
    let literal = |text: &str| literal(text, format, control_id);
    let more = match (calls, syntax.separator) {
        (ForcedCalls::Many, Some(separator)) => format!("({} call)*", literal(separator)),
        _ => String::new(),
    };
    let mut grammar = format!("start: {} call {more} {}\n", literal(syntax.open), literal(syntax.close));
    let names: Vec<String> = (0..tools.len()).map(|index| format!("call_{index}")).collect();
    let _ = writeln!(grammar, "call: {}", names.join(" | "));
    for (index, tool) in tools.iter().enumerate() {
        let name = function_name(tool);
        let name = if format.quotes_names() { Value::from(name).to_string() } else { name.to_owned() };
        let _ = writeln!(
            grammar,
            "call_{index}: {} arguments_{index} {}",
            literal(&format!("{}{name}{}", syntax.before_name, syntax.before_arguments)),
            literal(syntax.after_arguments)
        );
        match format {
            ToolFormat::QwenXml => xml_arguments(&mut grammar, index, &parameters(tool)),
            _ => {
                let _ = writeln!(grammar, "arguments_{index}: %json {}", with_few_blanks(&schema(tool)));
            }
        }
    }
    grammar
}

/// The parameters in the order of the schema, each between tags of its own.
fn xml_arguments(grammar: &mut String, index: usize, parameters: &[Parameter]) {
    let part = |(number, parameter): (usize, &Parameter)| {
        format!("parameter_{index}_{number}{}", if parameter.required { "" } else { "?" })
    };
    let parts: Vec<String> = parameters.iter().enumerate().map(part).collect();
    let parts = if parts.is_empty() { "\"\"".to_owned() } else { parts.join(" ") };
    let _ = writeln!(grammar, "arguments_{index}: {parts}");
    for (number, parameter) in parameters.iter().enumerate() {
        let open = quoted(&format!("<parameter={}>\n", parameter.name));
        let end = quoted(END_OF_PARAMETER);
        let value = match (parameter.kind, parameter.schema["enum"].as_array()) {
            (ParameterKind::Text, Some(choices)) => {
                let choices: Vec<String> = choices.iter().filter_map(Value::as_str).map(quoted).collect();
                format!("({}) {end}", choices.join(" | "))
            }
            (ParameterKind::Text, None) => {
                let text = format!("text_{index}_{number}");
                let _ = writeln!(grammar, "{text}[suffix={end}]: /(?s:.*)/");
                text
            }
            (ParameterKind::Json, _) => format!("%json {} {end}", with_few_blanks(&parameter.schema)),
        };
        let _ = writeln!(grammar, "parameter_{index}_{number}: {open} {value}");
    }
}

/// A text as it is, and the control tokens that are named in it by their ids.
fn literal(text: &str, format: ToolFormat, control_id: &dyn Fn(&str) -> Option<u32>) -> String {
    let mut parts = Vec::new();
    let mut rest = text;
    let controls = format.control_names().iter().filter_map(|name| Some((*name, control_id(name)?)));
    let controls: Vec<(&str, u32)> = controls.collect();
    loop {
        let next = controls.iter().filter_map(|(name, id)| Some((rest.find(*name)?, *name, *id))).min();
        let (at, name, id) = next.unwrap_or((rest.len(), "", 0));
        if at > 0 {
            parts.push(quoted(&rest[..at]));
        }
        if name.is_empty() {
            return parts.join(" ");
        }
        parts.push(format!("<[{id}]>"));
        rest = &rest[at + name.len()..];
    }
}

/// A text as a string of Lark.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::constraint::{GrammarCompiler, GrammarSource, RequestConstraint, TokenRules};
    use crate::tools::ToolStream;
    use ivl_core::Vocab;
    use ivl_core::decode::TokenConstraint;
    use ivl_core::vocab::Token;
    use serde_json::json;

    const FORMATS: [ToolFormat; 9] = [
        ToolFormat::Hermes,
        ToolFormat::QwenXml,
        ToolFormat::Mistral,
        ToolFormat::MistralArgs,
        ToolFormat::List,
        ToolFormat::DeepSeekFenced,
        ToolFormat::DeepSeek,
        ToolFormat::Llama,
        ToolFormat::Json,
    ];

    /// The bytes, then control tokens; the last ends a text.
    fn vocab(controls: &[&str]) -> Vocab {
        let mut tokens: Vec<Option<Token>> = (0..=255_u8).map(|byte| Some(Token::text([byte]))).collect();
        tokens.extend(controls.iter().chain(&["</s>"]).map(|name| Some(Token::control(name))));
        Vocab::new(tokens)
    }

    /// Whether a grammar lets a text through, and whether it may end there.
    fn follows(
        format: ToolFormat,
        tools: &[Value],
        calls: ForcedCalls,
        text: &str,
        controls: &[&str],
    ) -> (bool, bool) {
        let vocab = vocab(controls);
        let id = |name: &str| controls.iter().position(|other| *other == name).map(|at| 256 + at as u32);
        let tools: Vec<&Value> = tools.iter().collect();
        let source = GrammarSource::Lark(call_grammar(format, &tools, calls, &id));
        let end = vocab.size() as u32 - 1;
        let grammar =
            GrammarCompiler::new(&vocab).expect("a compiler").compile(&source, &[end]).expect("a grammar");
        let mut constraint = RequestConstraint { rules: TokenRules::default(), grammar: Some(grammar) };
        let allowed = |constraint: &mut RequestConstraint, token: u32| {
            let mut logits = vec![0.0; vocab.size()];
            constraint.restrict(&mut logits);
            logits[token as usize] == 0.0
        };
        let mut rest = text;
        while !rest.is_empty() {
            let control = controls.iter().copied().find(|name| rest.starts_with(*name));
            let (token, len) = match control {
                Some(name) => (id(name).expect("a control token"), name.len()),
                None => (u32::from(rest.as_bytes()[0]), 1),
            };
            if !allowed(&mut constraint, token) {
                return (false, false);
            }
            constraint.accept(token);
            if !rest.is_char_boundary(len) {
                // The other bytes of a letter.
                for byte in rest.chars().next().expect("a letter").to_string().bytes().skip(1) {
                    constraint.accept(u32::from(byte));
                }
                rest = &rest[rest.chars().next().expect("a letter").len_utf8()..];
                continue;
            }
            rest = &rest[len..];
        }
        let ends = constraint.is_complete() || allowed(&mut constraint, end);
        (true, ends)
    }

    fn tools() -> [Value; 2] {
        let tool = |name: &str, parameters: Value| json!({"type": "function", "function": {"name": name, "parameters": parameters}});
        [
            tool(
                "find",
                json!({"type": "object", "properties": {
                "city": {"type": "string"}, "days": {"$ref": "#/$defs/days"}, "unit": {"enum": ["C", "F"]},
            }, "required": ["city", "days"], "additionalProperties": false, "$defs": {"days": {"type": "integer"}}}),
            ),
            tool("stop", json!({"type": "object", "properties": {}, "additionalProperties": false})),
        ]
    }

    /// A call of each tool as a format writes them.
    fn written(format: ToolFormat) -> [String; 2] {
        let syntax = format.syntax();
        let call = |name: &str, arguments: &str| {
            let name = if format.quotes_names() { format!("{name:?}") } else { name.to_owned() };
            format!(
                "{}{name}{}{arguments}{}",
                syntax.before_name, syntax.before_arguments, syntax.after_arguments
            )
        };
        match format {
            ToolFormat::QwenXml => [
                call(
                    "find",
                    "<parameter=city>\nOslo\nor so\n</parameter>\n<parameter=days>\n3\n</parameter>\n<parameter=unit>\nC\n</parameter>\n",
                ),
                call("stop", ""),
            ],
            _ => [
                call("find", "{\"city\": \"Oslo\\nor so\", \"days\": 3, \"unit\": \"C\"}"),
                call("stop", "{}"),
            ],
        }
    }

    #[test]
    fn what_a_grammar_lets_through_is_read_as_calls() {
        for format in FORMATS {
            for controls in [&[][..], format.control_names()] {
                let syntax = format.syntax();
                let [find, stop] = written(format);
                let one = format!("{}{find}{}", syntax.open, syntax.close);
                let check = |text: &str, calls| follows(format, &tools(), calls, text, controls);
                assert_eq!(check(&one, ForcedCalls::One), (true, true), "{format:?} {one}");
                let mut stream = ToolStream::new(format, &tools());
                let text = stream.push(&one);
                let (rest, calls) = stream.finish();
                assert_eq!((text + &rest, calls.len()), (String::new(), 1), "{one}");
                let arguments: Value = serde_json::from_str(&calls[0].arguments).expect("JSON");
                assert_eq!(arguments, json!({"city": "Oslo\nor so", "days": 3, "unit": "C"}), "{one}");
                let Some(separator) = syntax.separator else { continue };
                let two = format!("{}{find}{separator}{stop}{}", syntax.open, syntax.close);
                assert_eq!(check(&two, ForcedCalls::Many), (true, true), "{format:?} {two}");
                assert!(!check(&two, ForcedCalls::One).1, "{format:?}");
            }
        }
    }

    #[test]
    fn other_texts_functions_and_arguments_are_not_let_through() {
        for format in FORMATS {
            let syntax = format.syntax();
            let [find, _] = written(format);
            for wrong in [
                "Well. ".to_owned(),
                format!("{}{}", syntax.open, find.replace("find", "grep")),
                format!("{}{}", syntax.open, find.replace('3', "x")),
                format!("{}{}", syntax.open, find.replace("C\"", "K\"").replace("C\n<", "K\n<")),
            ] {
                assert!(!follows(format, &tools(), ForcedCalls::Many, &wrong, &[]).0, "{format:?} {wrong}");
            }
        }
    }
}

//! Jinja as Python has it: what chat templates and templates of rows share.

use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, State};
use minijinja_contrib::pycompat;

use crate::template::python::dumps;

/// Instructions that a rendering may take: a template from a stranger must end.
const FUEL: u64 = 50_000_000;

/// An environment that writes values, calls methods and dumps JSON as Python does, and ends.
pub(crate) fn python_environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_fuel(Some(FUEL));
    environment.set_unknown_method_callback(python_method);
    environment.set_formatter(|out, state, value| match value.kind() {
        // As Python writes them.
        ValueKind::Bool => Ok(out.write_str(if value.is_true() { "True" } else { "False" })?),
        ValueKind::None => Ok(out.write_str("None")?),
        _ => minijinja::escape_formatter(out, state, value),
    });
    environment.add_filter("tojson", to_json);
    environment
}

/// Methods of Python's values; those of lists beyond the ones that `pycompat` has.
fn python_method(
    state: &mut State<'_, '_>,
    value: &Value,
    method: &str,
    args: &[Value],
) -> Result<Value, Error> {
    if let (ValueKind::Seq, "index", [wanted]) = (value.kind(), method, args) {
        let position = value.try_iter()?.position(|item| item == *wanted);
        let missing = || Error::new(ErrorKind::InvalidOperation, format!("{wanted} is not in list"));
        return position.map(Value::from).ok_or_else(missing);
    }
    pycompat::unknown_method_callback(state, value, method, args)
}

fn to_json(value: Value, options: Kwargs) -> Result<String, Error> {
    let indent: Option<usize> = options.get("indent")?;
    let ensure_ascii: Option<bool> = options.get("ensure_ascii")?;
    let sort_keys: Option<bool> = options.get("sort_keys")?;
    let separators: Option<Vec<String>> = options.get("separators")?;
    options.assert_all_used()?;
    let json = serde_json::to_value(&value)
        .map_err(|error| Error::new(ErrorKind::BadSerialization, error.to_string()))?;
    Ok(dumps(&json, indent, ensure_ascii.unwrap_or(false), sort_keys.unwrap_or(false), separators.as_deref()))
}

//! Python's `text % values`.

use std::iter::Peekable;
use std::str::Chars;

use minijinja::value::{Value, ValueKind};
use minijinja::{Error, ErrorKind};

use super::python::{python_repr, python_str};

/// Largest width or precision.
const WIDEST: usize = 1 << 12;

/// One `%` with its flags.
#[derive(Debug, Default)]
struct Conversion {
    left: bool,
    zero: bool,
    plus: bool,
    blank: bool,
    alternate: bool,
    width: usize,
    precision: Option<usize>,
}

/// Replaces every conversion by the next value, or by the named one of a mapping.
///
/// # Errors
/// Too few or too many values, a value of another type than its conversion, an unknown conversion.
pub(super) fn percent_format(text: &str, values: &[Value]) -> Result<String, Error> {
    let mut out = String::new();
    let mut letters = text.chars().peekable();
    let mut values_left = values.iter();
    let mut named = false;
    while let Some(letter) = letters.next() {
        if letter != '%' {
            out.push(letter);
            continue;
        }
        let mut value = None;
        if letters.next_if_eq(&'(').is_some() {
            let name: String = letters.by_ref().take_while(|&letter| letter != ')').collect();
            let mapping = values.first().ok_or_else(|| failed("not enough arguments for format string"))?;
            value = Some(mapping.get_attr(&name)?);
            named = true;
        }
        let conversion = Conversion::read(&mut letters);
        let kind = letters.next().ok_or_else(|| failed("incomplete format"))?;
        if kind == '%' {
            out.push('%');
            continue;
        }
        let value = match value {
            Some(value) => value,
            None => {
                values_left.next().cloned().ok_or_else(|| failed("not enough arguments for format string"))?
            }
        };
        out.push_str(&conversion.format(kind, &value)?);
    }
    if !named && values_left.next().is_some() {
        return Err(failed("not all arguments converted during string formatting"));
    }
    Ok(out)
}

fn failed(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.into())
}

impl Conversion {
    /// Flags, width and precision, up to the letter of the kind.
    fn read(letters: &mut Peekable<Chars<'_>>) -> Self {
        let mut conversion = Self::default();
        while let Some(flag) = letters.next_if(|letter| "-0+ #".contains(*letter)) {
            match flag {
                '-' => conversion.left = true,
                '0' => conversion.zero = true,
                '+' => conversion.plus = true,
                ' ' => conversion.blank = true,
                _ => conversion.alternate = true,
            }
        }
        conversion.width = number_in(letters);
        if letters.next_if_eq(&'.').is_some() {
            conversion.precision = Some(number_in(letters));
        }
        conversion
    }

    fn format(&self, kind: char, value: &Value) -> Result<String, Error> {
        let cut = |text: String| match self.precision {
            Some(precision) => text.chars().take(precision).collect(),
            None => text,
        };
        Ok(match kind {
            's' => self.padded(
                "",
                &cut(if value.is_undefined() { String::new() } else { python_str(value) }),
                false,
            ),
            'r' | 'a' => self.padded("", &cut(python_repr(value)), false),
            'c' => self.padded("", &python_str(value), false),
            'd' | 'i' | 'u' => {
                let whole = number(value)?.trunc();
                let digits = if value.is_integer() {
                    python_str(value).trim_start_matches('-').to_owned()
                } else {
                    format!("{:.0}", whole.abs())
                };
                self.signed(whole < 0.0, &format!("{digits:0>width$}", width = self.precision.unwrap_or(0)))
            }
            'x' | 'X' | 'o' => {
                let whole = i64::try_from(value.clone())?;
                let digits = match kind {
                    'x' => format!("{:x}", whole.unsigned_abs()),
                    'X' => format!("{:X}", whole.unsigned_abs()),
                    _ => format!("{:o}", whole.unsigned_abs()),
                };
                let prefix = if self.alternate { format!("0{kind}") } else { String::new() };
                self.signed(whole < 0, &(prefix + &digits))
            }
            'f' | 'F' => {
                let number = number(value)?;
                self.signed(
                    number.is_sign_negative(),
                    &format!("{:.*}", self.precision.unwrap_or(6), number.abs()),
                )
            }
            'e' | 'E' => {
                let number = number(value)?;
                let text = scientific(number.abs(), self.precision.unwrap_or(6));
                self.signed(number.is_sign_negative(), &if kind == 'E' { text.to_uppercase() } else { text })
            }
            'g' | 'G' => {
                let number = number(value)?;
                let text = general(number.abs(), self.precision.unwrap_or(6).max(1));
                self.signed(number.is_sign_negative(), &if kind == 'G' { text.to_uppercase() } else { text })
            }
            other => return Err(failed(format!("unsupported format character '{other}'"))),
        })
    }

    fn signed(&self, negative: bool, digits: &str) -> String {
        let sign = match (negative, self.plus, self.blank) {
            (true, ..) => "-",
            (_, true, _) => "+",
            (.., true) => " ",
            _ => "",
        };
        self.padded(sign, digits, self.zero && !self.left)
    }

    fn padded(&self, sign: &str, text: &str, zeros: bool) -> String {
        let missing = self.width.saturating_sub(sign.len() + text.chars().count());
        match (self.left, zeros) {
            (true, _) => format!("{sign}{text}{}", " ".repeat(missing)),
            (_, true) => format!("{sign}{}{text}", "0".repeat(missing)),
            _ => format!("{}{sign}{text}", " ".repeat(missing)),
        }
    }
}

/// The digits that come next, as a number; 0 if there are none.
fn number_in(letters: &mut Peekable<Chars<'_>>) -> usize {
    let mut number = 0;
    while let Some(digit) = letters.next_if(char::is_ascii_digit) {
        number = (number * 10 + digit.to_digit(10).unwrap_or_default() as usize).min(WIDEST);
    }
    number
}

fn number(value: &Value) -> Result<f64, Error> {
    match value.kind() {
        ValueKind::Bool => Ok(f64::from(u8::from(value.is_true()))),
        ValueKind::Number => f64::try_from(value.clone()),
        _ => Err(failed(format!("a number is required, not {}", value.kind()))),
    }
}

fn scientific(number: f64, precision: usize) -> String {
    let text = format!("{number:.precision$e}");
    let (digits, power) = text.split_once('e').unwrap_or((&text, "0"));
    let power: i32 = power.parse().unwrap_or(0);
    format!("{digits}e{}{:02}", if power < 0 { '-' } else { '+' }, power.abs())
}

fn general(number: f64, precision: usize) -> String {
    let text = scientific(number, precision - 1);
    let power: i32 = text.split_once('e').and_then(|(_, power)| power.parse().ok()).unwrap_or(0);
    let trimmed = |text: &str| {
        if text.contains('.') {
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        } else {
            text.to_owned()
        }
    };
    if power < -4 || power >= precision as i32 {
        let (digits, power) = text.split_once('e').unwrap_or((&text, "+00"));
        return format!("{}e{power}", trimmed(digits));
    }
    trimmed(&format!("{number:.*}", (precision as i32 - 1 - power).max(0) as usize))
}

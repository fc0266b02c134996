//! Pickles, as far as they build plain data: nothing that a pickle names is imported or called.

use super::error::PytorchError;

/// The index of a value in [`Values`].
pub(super) type Id = usize;

/// What a pickle builds.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    /// `None`, a truth value, a float: nothing that describes a tensor.
    Other(&'static str),
    Int(i64),
    Text(String),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    /// A dictionary, ordered or not.
    Dict(Vec<(Id, Id)>),
    /// A function or class, by module and name.
    Global(String),
    /// Something that is kept outside of the pickle.
    Outside(Id),
    /// The result of calling a function, which is not called.
    Call {
        function: String,
        arguments: Id,
    },
}

/// All values of a pickle. They refer to each other by index, so that nothing of a user's file is recursion here.
#[derive(Debug, Default)]
pub(super) struct Values {
    all: Vec<Value>,
}

impl Values {
    pub(super) fn get(&self, id: Id) -> &Value {
        &self.all[id]
    }
}

/// More values than the tensors of any model are described by: about twenty each.
const MOST_VALUES: usize = 1 << 22;

/// Functions that describe tensors and parameters.
const DESCRIBING: [&str; 4] = [
    "torch._utils._rebuild_tensor_v2",
    "torch._utils._rebuild_tensor",
    "torch._utils._rebuild_parameter",
    "torch._tensor._rebuild_from_type_v2",
];

/// Follows the instructions of a pickle. The result is its last value, and all that it is made of.
///
/// # Errors
/// [`PytorchError::Pickle`] for a broken one, [`PytorchError::Call`] for one that calls something which describes no tensor.
pub(super) fn read(pickle: &[u8]) -> Result<(Values, Id), PytorchError> {
    let mut machine = Machine {
        pickle,
        at: 0,
        values: Values::default(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: Vec::new(),
    };
    loop {
        if machine.values.all.len() > MOST_VALUES {
            return Err(machine.broken("has more values than a model needs"));
        }
        if let Some(result) = machine.step()? {
            return Ok((machine.values, result));
        }
    }
}

struct Machine<'a> {
    pickle: &'a [u8],
    at: usize,
    values: Values,
    stack: Vec<Id>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: Vec<Id>,
}

impl<'a> Machine<'a> {
    fn broken(&self, reason: &'static str) -> PytorchError {
        PytorchError::Pickle { reason, at: self.at }
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], PytorchError> {
        let end = self.at.checked_add(len);
        let bytes =
            end.and_then(|end| self.pickle.get(self.at..end)).ok_or_else(|| self.broken("ends early"))?;
        self.at += len;
        Ok(bytes)
    }

    /// A whole number of at most eight bytes, lowest first.
    fn number(&mut self, len: usize) -> Result<usize, PytorchError> {
        let bytes = self.take(len)?;
        let number = bytes.iter().rev().fold(0u64, |number, &byte| number << 8 | u64::from(byte));
        usize::try_from(number).map_err(|_| self.broken("has a length that is too large"))
    }

    fn line(&mut self) -> Result<String, PytorchError> {
        let rest = &self.pickle[self.at..];
        let len = rest.iter().position(|&byte| byte == b'\n').ok_or_else(|| self.broken("ends early"))?;
        let text = self.text(len)?;
        self.at += 1;
        Ok(text)
    }

    fn text(&mut self, len: usize) -> Result<String, PytorchError> {
        let bytes = self.take(len)?.to_vec();
        String::from_utf8(bytes).map_err(|_| self.broken("has a text that is not UTF-8"))
    }

    fn push(&mut self, value: Value) {
        self.values.all.push(value);
        self.stack.push(self.values.all.len() - 1);
    }

    fn pop(&mut self) -> Result<Id, PytorchError> {
        let height = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= height {
            return Err(self.broken("takes a value that is not there"));
        }
        self.stack.pop().ok_or_else(|| self.broken("takes a value that is not there"))
    }

    /// The values after the last mark.
    fn since_mark(&mut self) -> Result<Vec<Id>, PytorchError> {
        let mark = self.marks.pop().ok_or_else(|| self.broken("has no mark"))?;
        Ok(self.stack.split_off(mark.min(self.stack.len())))
    }

    fn tuple(&mut self, len: usize) -> Result<(), PytorchError> {
        let mut items = (0..len).map(|_| self.pop()).collect::<Result<Vec<Id>, _>>()?;
        items.reverse();
        self.push(Value::Tuple(items));
        Ok(())
    }

    fn remember(&mut self, place: usize) -> Result<(), PytorchError> {
        // Python numbers the places one after the other.
        if place > self.memo.len() {
            return Err(self.broken("has a place in memory that is too large"));
        }
        let top = *self.stack.last().ok_or_else(|| self.broken("remembers nothing"))?;
        match self.memo.get_mut(place) {
            Some(known) => *known = top,
            None => self.memo.push(top),
        }
        Ok(())
    }

    fn recall(&mut self, place: usize) -> Result<(), PytorchError> {
        let id = self.memo.get(place).copied();
        self.stack.push(id.ok_or_else(|| self.broken("recalls a value that is not there"))?);
        Ok(())
    }

    /// Adds items to the list or dictionary on the stack.
    fn add(&mut self, items: &[Id]) -> Result<(), PytorchError> {
        let target = *self.stack.last().ok_or_else(|| self.broken("adds to nothing"))?;
        match &mut self.values.all[target] {
            Value::List(list) => list.extend(items),
            Value::Dict(entries) if items.len().is_multiple_of(2) => {
                entries.extend(items.chunks_exact(2).map(|pair| (pair[0], pair[1])));
            }
            _ => return Err(self.broken("adds to a value that holds no others")),
        }
        Ok(())
    }

    fn call(&mut self) -> Result<(), PytorchError> {
        let (arguments, function) = (self.pop()?, self.pop()?);
        let Value::Global(function) = self.values.get(function).clone() else {
            return Err(self.broken("calls a value that is no function"));
        };
        if function == "collections.OrderedDict" {
            self.push(Value::Dict(Vec::new()));
        } else if DESCRIBING.contains(&function.as_str()) {
            self.push(Value::Call { function, arguments });
        } else {
            return Err(PytorchError::Call { name: function });
        }
        Ok(())
    }

    /// One instruction; the result, if it was the last.
    fn step(&mut self) -> Result<Option<Id>, PytorchError> {
        match self.take(1)?[0] {
            b'.' => return self.pop().map(Some),
            b'(' => self.marks.push(self.stack.len()),
            b'}' => self.push(Value::Dict(Vec::new())),
            b']' => self.push(Value::List(Vec::new())),
            b')' => self.push(Value::Tuple(Vec::new())),
            b't' => {
                let items = self.since_mark()?;
                self.push(Value::Tuple(items));
            }
            code @ 0x85..=0x87 => self.tuple(usize::from(code) - 0x84)?,
            b'u' | b'e' => {
                let items = self.since_mark()?;
                self.add(&items)?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.add(&[key, value])?;
            }
            b'a' => {
                let item = self.pop()?;
                self.add(&[item])?;
            }
            b'R' | 0x81 => self.call()?,
            // The state of an object, such as the versions of modules that a dictionary of weights carries.
            b'b' | b'0' => drop(self.pop()?),
            b'Q' => {
                let id = self.pop()?;
                self.push(Value::Outside(id));
            }
            code => self.text_instruction(code)?,
        }
        Ok(None)
    }

    /// Instructions that read a text, and those that mean nothing here.
    fn text_instruction(&mut self, code: u8) -> Result<(), PytorchError> {
        match code {
            // The version of the format; the length of what follows.
            0x80 => drop(self.take(1)?),
            0x95 => drop(self.take(8)?),
            b'X' | b'T' => {
                let len = self.number(4)?;
                let text = self.text(len)?;
                self.push(Value::Text(text));
            }
            0x8c | b'U' => {
                let len = self.number(1)?;
                let text = self.text(len)?;
                self.push(Value::Text(text));
            }
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.push(Value::Global(format!("{module}.{name}")));
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let global = match (self.values.get(module), self.values.get(name)) {
                    (Value::Text(module), Value::Text(name)) => format!("{module}.{name}"),
                    _ => return Err(self.broken("names a function by something else than text")),
                };
                self.push(Value::Global(global));
            }
            _ => self.constant(code)?,
        }
        Ok(())
    }

    /// Instructions that give a constant or use the memory.
    fn constant(&mut self, code: u8) -> Result<(), PytorchError> {
        match code {
            b'J' => {
                let number = self.number(4)? as u32;
                self.push(Value::Int(i64::from(number.cast_signed())));
            }
            b'K' | b'M' => {
                let number = self.number(if code == b'K' { 1 } else { 2 })?;
                self.push(Value::Int(number as i64));
            }
            0x8a => {
                let len = self.number(1)?;
                if len > 8 {
                    return Err(self.broken("has a number of more than eight bytes"));
                }
                let bytes = self.take(len)?;
                let sign: i64 = if bytes.last().is_some_and(|&byte| byte >= 128) { -1 } else { 0 };
                self.push(Value::Int(
                    bytes.iter().rev().fold(sign, |number, &byte| number << 8 | i64::from(byte)),
                ));
            }
            b'G' => {
                self.take(8)?;
                self.push(Value::Other("a float"));
            }
            b'N' => self.push(Value::Other("None")),
            0x88 | 0x89 => self.push(Value::Other("a truth value")),
            b'q' | b'r' => {
                let place = self.number(if code == b'q' { 1 } else { 4 })?;
                self.remember(place)?;
            }
            0x94 => self.remember(self.memo.len())?,
            b'h' | b'j' => {
                let place = self.number(if code == b'h' { 1 } else { 4 })?;
                self.recall(place)?;
            }
            _ => {
                self.at -= 1;
                return Err(self.broken("has an instruction that no file of weights needs"));
            }
        }
        Ok(())
    }
}

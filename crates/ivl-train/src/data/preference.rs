//! A row with two answers to one prompt, in the formats of [TRL](https://huggingface.co/docs/trl/dataset_formats#preference).

use serde_json::Value;

use super::demonstration::Demonstration;
use super::row_fields::{ParsedTurn, RowFields, kind};
use crate::config::Field;

/// Reads a row of `chosen` and `rejected`; the error says what is there instead.
///
/// | `prompt` | `chosen` and `rejected` | the prompt is |
/// |---|---|---|
/// | a text | texts | `prompt` |
/// | none | texts | what both begin with; a space before the first difference belongs to the answers |
/// | messages | messages | `prompt` |
/// | none or a text | messages | the messages that both begin with; a text only if there is none |
pub(super) fn read(row: &RowFields<'_>) -> Result<Demonstration, String> {
    let is_list = |field| row.get(field).is_some_and(Value::is_array);
    let sides = match [Field::Chosen, Field::Rejected].map(is_list) {
        [true, true] => conversations(row)?,
        [false, false] => texts(row)?,
        [chosen, _] => {
            let (texts, lists) = match chosen {
                true => (Field::Rejected, Field::Chosen),
                false => (Field::Chosen, Field::Rejected),
            };
            let got = row.get(texts).map_or("nothing", kind);
            let (texts, lists) = (row.column(texts), row.column(lists));
            return Err(format!("{got} in `{texts}` and a list in `{lists}`, expected both alike"));
        }
    };
    if sides[0] == sides[1] {
        let [chosen, rejected] = [Field::Chosen, Field::Rejected].map(|field| row.column(field));
        return Err(format!("the same answer in `{chosen}` and `{rejected}`"));
    }
    Ok(Demonstration::Pair(Box::new(sides)))
}

fn texts(row: &RowFields<'_>) -> Result<[Demonstration; 2], String> {
    let [chosen, rejected] = [row.text(Field::Chosen)?, row.text(Field::Rejected)?];
    let side = |prompt: &str, completion: &str| Demonstration::Completion {
        prompt: prompt.to_owned(),
        completion: completion.to_owned(),
    };
    if row.get(Field::Prompt).is_some() {
        let prompt = row.text(Field::Prompt)?;
        return Ok([side(&prompt, &chosen), side(&prompt, &rejected)]);
    }
    let shared = common_beginning(&chosen, &rejected);
    let (prompt, chosen) = chosen.split_at(shared);
    Ok([side(prompt, chosen), side(prompt, &rejected[shared..])])
}

/// The bytes with which both texts begin, without a space at the end: tokens of words begin with theirs.
fn common_beginning(a: &str, b: &str) -> usize {
    let same = a.chars().zip(b.chars()).take_while(|(a, b)| a == b);
    let shared: usize = same.map(|(c, _)| c.len_utf8()).sum();
    if a[..shared].ends_with(' ') { shared - 1 } else { shared }
}

fn conversations(row: &RowFields<'_>) -> Result<[Demonstration; 2], String> {
    let [mut chosen, mut rejected] = [row.turns(Field::Chosen)?, row.turns(Field::Rejected)?];
    let mut prompt: Vec<ParsedTurn> = Vec::new();
    if row.get(Field::Prompt).is_some_and(Value::is_array) {
        prompt = row.turns(Field::Prompt)?;
    } else {
        let shared = chosen.iter().zip(&rejected).take_while(|(a, b)| a == b).count();
        prompt.extend(chosen.drain(..shared));
        rejected.drain(..shared);
        if shared == 0 && row.get(Field::Prompt).is_some() {
            prompt.push(ParsedTurn::of_user(&row.text(Field::Prompt)?));
        }
    }
    if chosen == rejected {
        let [chosen, rejected] = [Field::Chosen, Field::Rejected].map(|field| row.column(field));
        return Err(format!("the same answer in `{chosen}` and `{rejected}`"));
    }
    let given = prompt.len();
    let side = |answer: Vec<ParsedTurn>, field| {
        let turns = prompt.iter().cloned().chain(answer).collect();
        row.conversation_of(turns, given, field).map(Demonstration::Conversation)
    };
    Ok([side(chosen, Field::Chosen)?, side(rejected, Field::Rejected)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_that_both_share_ends_before_a_space() {
        for (a, b, shared) in [
            ("The sky is blue.", "The sky is green.", "The sky is"),
            ("blue", "green", ""),
            ("yes", "yes, but", "yes"),
            ("é", "è", ""),
            ("é a", "é b", "é"),
        ] {
            assert_eq!(&a[..common_beginning(a, b)], shared);
        }
    }
}

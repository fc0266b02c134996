//! Reading a row of a known format.

use super::demonstration::Demonstration;
use super::preference;
use super::record::Record;
use super::row_fields::RowFields;
use crate::config::{Field, Format, SourceConfig};

/// Reads a record of a known format; the error says what is there instead.
pub(super) fn read(record: Record, format: Format, config: &SourceConfig) -> Result<Demonstration, String> {
    let row = RowFields::new(record, config);
    match format {
        Format::Messages => row.conversation(Field::Messages, None).map(Demonstration::Conversation),
        Format::Sharegpt => row.conversation(Field::Conversations, None).map(Demonstration::Conversation),
        Format::Completion if row.is_list(Field::Prompt) || row.is_list(Field::Completion) => {
            row.conversation(Field::Completion, Some(Field::Prompt)).map(Demonstration::Conversation)
        }
        Format::Completion => {
            let (prompt, completion) = (row.text(Field::Prompt)?, row.text(Field::Completion)?);
            Ok(Demonstration::Completion { prompt, completion })
        }
        Format::Alpaca => {
            row.refuse_history()?;
            Ok(Demonstration::Instruction {
                instruction: row.text(Field::Instruction)?,
                input: row.optional_text(Field::Input)?,
                output: row.text(Field::Output)?,
                system: row.optional_text(Field::System)?,
            })
        }
        Format::Text => row.text(Field::Text).map(Demonstration::Text),
        Format::Preference => preference::read(&row),
        Format::Prompt if row.is_list(Field::Prompt) => {
            let turns = row.turns(Field::Prompt)?;
            let given = turns.len();
            row.conversation_of(turns, given, Field::Prompt).map(Demonstration::Conversation)
        }
        Format::Prompt => {
            Ok(Demonstration::Completion { prompt: row.text(Field::Prompt)?, completion: String::new() })
        }
    }
}

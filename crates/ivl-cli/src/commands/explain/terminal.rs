//! Explanations on a terminal.

use std::io::Write;

use anyhow::Result;
use ivl::TokenExplanation;
use ivl::core::Vocab;
use ivl::eval::explanation::{Influence, Visible, strength, visible, visible_line};

use ivl::{AttachedValue, Explanation, Model};

/// How an explanation is shown.
#[derive(Debug, Clone, Copy)]
pub struct Shown {
    /// In colours, where there would be a table.
    pub colored: bool,
    /// As a table as well.
    pub verbose: bool,
}

const RESET: &str = "\x1b[0m";

/// Backgrounds of the 256-colour palette, from weak to strong, with black letters or, on the last, white ones: readable on
/// light and dark terminals.
const MORE: [&str; 5] = ["30;48;5;189", "30;48;5;153", "30;48;5;111", "30;48;5;75", "97;48;5;26"];
const LESS: [&str; 5] = ["30;48;5;224", "30;48;5;223", "30;48;5;215", "30;48;5;208", "97;48;5;166"];

/// Strengths below this have no colour.
const FAINT: f32 = 0.1;

/// The text, in colours or as a table.
pub fn print(out: &mut impl Write, explanation: &Explanation, model: &Model, shown: Shown) -> Result<()> {
    let vocab = model.vocab();
    if let Some(origin) = &explanation.origin {
        writeln!(out, "── {origin}")?;
    }
    if shown.colored {
        writeln!(out, "{}\n", painted(vocab, &explanation.ids, &explanation.tokens))?;
    }
    if !shown.colored || shown.verbose {
        print_table(out, explanation, model)?;
    }
    Ok(())
}

/// Tokens in the colours of what was done to them. Tokens that are not explained are dim.
pub fn painted(vocab: &Vocab, ids: &[u32], tokens: &[Option<TokenExplanation>]) -> String {
    let mut text = String::new();
    for (&id, explained) in ids.iter().zip(tokens) {
        let style = style(explained.as_ref());
        for piece in visible(vocab, id) {
            match piece {
                // A colour that is on at a line break may fill the rest of the line.
                Visible::Break => text += "\n",
                Visible::Text(piece) | Visible::Sign(piece) if style.is_empty() => text += &piece,
                Visible::Text(piece) | Visible::Sign(piece) => {
                    text += &format!("\x1b[{style}m{piece}{RESET}");
                }
            }
        }
    }
    text
}

fn style(explained: Option<&TokenExplanation>) -> String {
    let Some(explained) = explained else { return "2".to_owned() };
    let change = &explained.change;
    let (strength, ramp) = (strength(change.delta), if change.delta < 0.0 { LESS } else { MORE });
    let color = (strength >= FAINT).then(|| ramp[((strength * 5.0) as usize).min(4)]);
    let line = change.flip.then_some("4");
    [color, line].into_iter().flatten().collect::<Vec<_>>().join(";")
}

/// One line for each token that is explained.
fn print_table(out: &mut impl Write, explanation: &Explanation, model: &Model) -> Result<()> {
    let (vocab, several) = (model.vocab(), model.values().len() > 1);
    write!(
        out,
        "{:>8} {:>8} {:>12} {:>7}  {:<12} {:<12}",
        "log p", "delta", "rank", "KL", "token", "base's first"
    )?;
    if several {
        model.values().iter().try_for_each(|value| write!(out, " {:>9}", value.name()))?;
    }
    writeln!(out)?;
    for (&id, explained) in explanation.ids.iter().zip(&explanation.tokens) {
        let Some(explained) = explained else { continue };
        let change = &explained.change;
        let ranks = format!("{} → {}", change.base_rank, change.rank);
        let first = if change.flip { visible_line(vocab, change.base_top) } else { String::new() };
        write!(
            out,
            "{:>8.3} {:>+8.3} {ranks:>12} {:>7.3}  {:<12} {first:<12}",
            explained.logprob,
            change.delta,
            change.kl,
            visible_line(vocab, id)
        )?;
        if several {
            explained.values.iter().try_for_each(|own| write!(out, " {:>+9.3}", own.delta))?;
        }
        writeln!(out)?;
    }
    writeln!(out)?;
    Ok(())
}

/// The means, and with several values each one's part and how two agree.
pub fn print_summary(out: &mut impl Write, influence: &Influence, attached: &[AttachedValue]) -> Result<()> {
    let percent = |share: f64| 100.0 * share;
    let all = &influence.all;
    writeln!(
        out,
        "{} tokens: {:+.3} nats each with the values, another first choice at {:.1}%, KL {:.3}",
        influence.tokens,
        all.delta,
        percent(all.flips),
        all.kl
    )?;
    if attached.len() < 2 {
        return Ok(());
    }
    for (value, own) in attached.iter().zip(&influence.values) {
        writeln!(
            out,
            "  due to {} (alpha {}): {:+.3} nats each, another first choice at {:.1}%, KL {:.3}",
            value.name(),
            value.alpha(),
            own.delta,
            percent(own.flips),
            own.kl
        )?;
    }
    for conflict in &influence.conflicts {
        writeln!(
            out,
            "  {} and {}: cosine {:.3}, they raise different tokens most at {:.1}%, choose different ones at {:.1}%",
            attached[conflict.first].name(),
            attached[conflict.second].name(),
            conflict.cosine,
            percent(conflict.favourites_differ),
            percent(conflict.choices_differ)
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use ivl::core::vocab::Token;

    use super::*;

    #[test]
    fn colours_follow_the_figures_and_never_cross_a_line() {
        let tokens = [Token::text(*b"a\n"), Token::text(*b"b"), Token::text([0x1b, b'[', b'm'])];
        let vocab = Vocab::new(tokens.into_iter().map(Some).collect());
        let (base, fused) = ([1.0, 0.0, 0.0], [0.0, 9.0, 0.0]);
        let explained = |token| Some(TokenExplanation::between(&[&base, &fused], token));
        let painted = painted(&vocab, &[0, 0, 1, 2], &[None, explained(0), explained(1), explained(2)]);
        // From p 0.58 to almost 0, and from 0.21 to almost 1: the other letters are on the colour as well.
        let (gone, gained) = (format!("{};4", LESS[4]), format!("{};4", MORE[3]));
        let on = |style: &str, text: &str| format!("\x1b[{style}m{text}{RESET}");
        let expected = [
            on("2", "a") + &on("2", "⏎") + "\n",
            on(&gone, "a") + &on(&gone, "⏎") + "\n",
            on(&gained, "b"),
            on(&gone, "\\u{1b}") + &on(&gone, "[m"),
        ];
        assert_eq!(painted, expected.concat());
    }
}

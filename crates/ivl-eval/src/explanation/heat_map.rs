//! A text in which every token has the colour of what values did to it.

use ivl_core::Vocab;
use ivl_core::score::TokenExplanation;
use maud::{Markup, html};

use super::visible::{Visible, visible, visible_line};

/// The style of [`heat_map`], once for a page. It follows the page's light or dark scheme.
pub(crate) const HEAT_MAP_STYLE: &str = ".heat{margin:1rem 0}
.heat figcaption{font-size:.85rem;display:flex;flex-wrap:wrap;gap:.2rem 1rem;align-items:center;margin-bottom:.5rem}
.heat .scale{display:inline-block;width:6rem;height:.8rem;vertical-align:-.1rem;border-radius:.2rem;background:linear-gradient(90deg,rgb(234 88 12/.75),transparent 50%,rgb(37 99 235/.75))}
.heat .text{white-space:pre-wrap;overflow-wrap:anywhere;line-height:2;margin:0}
.heat .t{border-radius:.2rem;padding:.15rem 0;box-decoration-break:clone;-webkit-box-decoration-break:clone}
.heat .more{background:rgb(37 99 235/calc(var(--s)*.75))}
.heat .less{background:rgb(234 88 12/calc(var(--s)*.75))}
.heat .flip{text-decoration:underline double;text-underline-offset:.25em}
.heat .given{opacity:.65}
.heat .sign{font:.8em ui-monospace,monospace;opacity:.75}
.heat .t:hover,.heat .t:focus{outline:2px solid currentColor;outline-offset:1px}
.heat .card{display:none;position:fixed;z-index:1;inset:auto 0 0;padding:.6rem 1rem;white-space:normal;font-size:.9rem;line-height:1.5;background:light-dark(#16191d,#e8eaed);color:light-dark(#fff,#16191d)}
.heat .t:hover .card,.heat .t:focus .card{display:block}
.heat .t:focus .card{z-index:2}
.heat .scroll{overflow-x:auto}
.heat td.token{white-space:pre;text-align:left;font-family:ui-monospace,monospace}
.heat th.token{text-align:left}
.heat summary{cursor:pointer;margin-top:.75rem}
@media print{.heat .t{print-color-adjust:exact;-webkit-print-color-adjust:exact}.heat .scale{print-color-adjust:exact;-webkit-print-color-adjust:exact}.heat .card{display:none!important}.heat details::details-content{content-visibility:visible;block-size:auto}.heat tr{break-inside:avoid}.heat table{font-size:.7rem}.heat th,.heat td{padding:.1rem .3rem}}
@media (max-width:30rem){.heat th,.heat td{padding:.2rem .35rem}}
";

/// An HTML fragment, a `<figure>`: the text with colours and, folded, a table of all figures.
///
/// A token that values made more probable is blue, one that they made less probable orange; the strength is
/// `1 - e^-|delta|`, the share of the larger of its two probabilities that is gained or lost. Where the most probable token
/// is another one, there is a double line. Figures show at the foot of the window for the token under the pointer, touched
/// or reached by the keyboard. Tokens without an explanation are given, and pale.
///
/// `values` names the values. The page needs `HEAT_MAP_STYLE`. Text is escaped and nothing in it is hidden: see
/// [`visible`].
///
/// # Panics
/// If there are not as many explanations as ids.
pub fn heat_map(
    vocab: &Vocab,
    ids: &[u32],
    explained: &[Option<TokenExplanation>],
    values: &[String],
) -> Markup {
    assert_eq!(ids.len(), explained.len(), "one explanation, or none, for each token");
    let tokens = || ids.iter().copied().zip(explained);
    html! {
        figure.heat {
            figcaption {
                span { "less probable " span.scale aria-hidden="true" {} " more probable with the values" }
                span { span.flip { "double line" } ": the most probable token is another one" }
            }
            p.text dir="auto" {
                @for (id, explained) in tokens() { (token(vocab, id, explained.as_ref(), values)) }
            }
            details {
                summary { "All figures (rank 0 is the first choice)" }
                div.scroll {
                    table {
                        (header(values))
                        tbody {
                            @for (position, (id, explained)) in tokens().enumerate() {
                                @if let Some(explained) = explained { (row(vocab, position, id, explained)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A token in its colour, with its figures as a tooltip.
fn token(vocab: &Vocab, id: u32, explained: Option<&TokenExplanation>, values: &[String]) -> Markup {
    let Some(explained) = explained else { return html! { span.given { (markup(vocab, id)) } } };
    let (class, strength) = colour(explained);
    html! {
        span class={ "t " (class) } style={ "--s:" (format!("{strength:.3}")) } tabindex="0" {
            (markup(vocab, id))
            span.card role="tooltip" { (card(vocab, id, explained, values)) }
        }
    }
}

fn header(values: &[String]) -> Markup {
    html! {
        thead {
            tr {
                th scope="col" { "#" }
                th.token scope="col" { "token" }
                @for name in ["log p", "delta", "rank before", "after"] { th scope="col" { (name) } }
                th.token scope="col" { "base's first" }
                @for name in ["flip", "KL", "base's entropy"] { th scope="col" { (name) } }
                @if values.len() > 1 {
                    @for name in values { th scope="col" { "delta of " (name) } }
                }
            }
        }
    }
}

/// The classes of a token and the strength of its colour.
fn colour(explained: &TokenExplanation) -> (String, f32) {
    let delta = explained.change.delta;
    let way = if delta < 0.0 { "less" } else { "more" };
    let flip = if explained.change.flip { " flip" } else { "" };
    (format!("{way}{flip}"), strength(delta))
}

/// `1 - e^-|delta|`, and nothing for what is no number.
pub fn strength(delta: f32) -> f32 {
    let strength = 1.0 - (-delta.abs()).exp();
    if strength.is_nan() { 0.0 } else { strength }
}

/// The text of a token, in which nothing is hidden.
fn markup(vocab: &Vocab, id: u32) -> Markup {
    html! {
        @for piece in visible(vocab, id) {
            @match piece {
                Visible::Text(text) => (text),
                Visible::Sign(sign) => span.sign { (sign) },
                Visible::Break => "\n",
            }
        }
    }
}

/// The figures of a token, as text for a page.
struct Figures {
    token: String,
    logprob: String,
    delta: String,
    base_rank: usize,
    rank: usize,
    base_top: String,
    kl: String,
    /// Each value's own part, where there are several.
    own: Vec<String>,
}

impl Figures {
    fn new(vocab: &Vocab, id: u32, explained: &TokenExplanation) -> Self {
        let change = &explained.change;
        let own = if explained.values.len() > 1 { explained.values.as_slice() } else { &[] };
        Self {
            token: visible_line(vocab, id),
            logprob: number(explained.logprob),
            delta: signed(change.delta),
            base_rank: change.base_rank,
            rank: change.rank,
            base_top: visible_line(vocab, change.base_top),
            kl: number(change.kl),
            own: own.iter().map(|own| signed(own.delta)).collect(),
        }
    }
}

fn card(vocab: &Vocab, id: u32, explained: &TokenExplanation, values: &[String]) -> Markup {
    let Figures { token, logprob, delta, base_rank, rank, base_top, kl, own } =
        Figures::new(vocab, id, explained);
    html! {
        b { (token) } " log p " (logprob) ", " (delta) " with the values. Rank " (base_rank) " → " (rank)
        " (0 is first). The base's first: " b { (base_top) }
        @if explained.change.flip { ", no longer" }
        ". KL " (kl) "."
        @for (name, own) in values.iter().zip(own) { " Due to " (name) ": " (own) "." }
    }
}

fn row(vocab: &Vocab, position: usize, id: u32, explained: &TokenExplanation) -> Markup {
    let Figures { token, logprob, delta, base_rank, rank, base_top, kl, own } =
        Figures::new(vocab, id, explained);
    html! {
        tr {
            td { (position) }
            td.token { (token) }
            td { (logprob) }
            td { (delta) }
            td { (base_rank) }
            td { (rank) }
            td.token { (base_top) }
            td { @if explained.change.flip { "yes" } }
            td { (kl) }
            td { (number(explained.base.entropy as f32)) }
            @for own in own { td { (own) } }
        }
    }
}

/// Three decimals and a real minus; what is rounded to zero has no sign.
fn number(x: f32) -> String {
    let x = if x.abs() < 0.000_5 { 0.0 } else { x };
    format!("{x:.3}").replace('-', "−").replace("inf", "∞")
}

fn signed(x: f32) -> String {
    let plus = if x >= 0.000_5 { "+" } else { "" };
    format!("{plus}{}", number(x))
}

#[cfg(test)]
mod tests {
    use ivl_core::vocab::Token;

    use super::*;

    fn vocab() -> Vocab {
        let tokens = [&b"<b>&"[..], b"\n", &[0xe2], "\u{202e}x".as_bytes(), b" plain"];
        Vocab::new(tokens.into_iter().map(|bytes| Some(Token::text(bytes))).collect())
    }

    fn explained(delta: f32, token: usize) -> TokenExplanation {
        let base = [0.0; 5];
        let mut fused = base;
        fused[token] = delta;
        TokenExplanation::between(&[&base, &fused], token as u32)
    }

    #[test]
    fn nothing_of_a_token_is_markup_and_nothing_is_hidden() {
        let ids = [0, 1, 2, 3];
        let all: Vec<_> = ids.iter().map(|&id| Some(explained(1.0, id as usize))).collect();
        let html = heat_map(&vocab(), &ids, &all, &["<i>".to_owned()]).into_string();
        assert!(!html.contains("<b>&<") && !html.contains("<i>") && !html.contains('\u{202e}'), "{html}");
        for shown in ["&lt;b&gt;&amp;", "⏎</span>\n", "\\xe2", "\\u{202e}</span>x"] {
            assert!(html.contains(shown), "`{shown}` is not in {html}");
        }
        assert_eq!(html.matches('<').count(), html.matches('>').count());
    }

    #[test]
    fn colour_follows_the_sign_and_lines_mark_flips() {
        let all = [None, Some(explained(2.0, 4)), Some(explained(-2.0, 4))];
        let html = heat_map(&vocab(), &[4, 4, 4], &all, &[]).into_string();
        assert!(html.contains("<span class=\"given\"> plain</span>"));
        assert!(html.contains("class=\"t more flip\""), "the first of equals was another token: {html}");
        assert!(html.contains("class=\"t less\""));
        // -log(5) before, 2 - log(4 + e^2) after.
        assert!(html.contains("<td>+1.177</td>"), "{html}");
        assert_eq!(strength(f32::NEG_INFINITY), 1.0);
    }

    #[test]
    fn several_values_have_columns_of_their_own() {
        let (base, first, both) = ([0.0, 0.0], [1.0, 0.0], [1.0, 1.0]);
        let vocab = Vocab::new(vec![Some(Token::text(*b"a")), Some(Token::text(*b"b"))]);
        let all = [Some(TokenExplanation::between(&[&base, &first, &both], 0))];
        let html = heat_map(&vocab, &[0], &all, &["one".to_owned(), "two".to_owned()]).into_string();
        assert!(html.contains("delta of one") && html.contains("Due to two: −0.380"), "{html}");
    }
}

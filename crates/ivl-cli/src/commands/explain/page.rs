//! Explanations as a page of their own.

use ivl::eval::explanation::{HEAT_MAP_STYLE, Influence, MeanChange, heat_map};
use ivl::eval::html::{escape, page as html_page};

use ivl::{Explanation, Model};

/// Texts that one page holds; more make it slow to open.
const MOST_TEXTS: usize = 200;

/// The means and a heat map of every text.
pub fn page(explanations: &[Explanation], influence: &Influence, model: &Model) -> String {
    let names: Vec<String> = model.values().iter().map(|value| value.name().to_owned()).collect();
    let mut body = format!("<h1>What {} changed on {}</h1>\n", list(&names), escape(&model.base_name()));
    body += &means(influence, model);
    for explanation in explanations.iter().take(MOST_TEXTS) {
        if let Some(origin) = &explanation.origin {
            body += &format!("<h2>{}</h2>\n", escape(origin));
        }
        body += &heat_map(model.vocab(), &explanation.ids, &explanation.tokens, &names);
    }
    if explanations.len() > MOST_TEXTS {
        body += &format!("<p>The first {MOST_TEXTS} of {} texts.</p>\n", explanations.len());
    }
    html_page("What values changed", HEAT_MAP_STYLE, &body)
}

fn list(names: &[String]) -> String {
    names.iter().map(|name| escape(name)).collect::<Vec<_>>().join(", ")
}

fn means(influence: &Influence, model: &Model) -> String {
    let row = |name: &str, alpha: &str, MeanChange { delta, flips, kl }: &MeanChange| {
        format!(
            "<tr><th scope=\"row\">{}</th><td>{alpha}</td><td>{}</td><td>{:.1}%</td><td>{kl:.3}</td></tr>\n",
            escape(name),
            format!("{delta:+.3}").replace('-', "−"),
            100.0 * flips
        )
    };
    let mut table = String::from(
        "<div class=\"scroll\"><table>\n<thead><tr><th scope=\"col\">value</th><th scope=\"col\">alpha</th>\
         <th scope=\"col\">nats a token</th><th scope=\"col\">another first choice</th>\
         <th scope=\"col\">KL</th></tr></thead>\n<tbody>\n",
    );
    match model.values() {
        [only] => table += &row(only.name(), &only.alpha().to_string(), &influence.all),
        several => {
            for (value, own) in several.iter().zip(&influence.values) {
                table += &row(&format!("due to {}", value.name()), &value.alpha().to_string(), own);
            }
            table += &row("all", "", &influence.all);
        }
    }
    table += "</tbody>\n</table></div>\n";
    for conflict in &influence.conflicts {
        let [first, second] = [conflict.first, conflict.second].map(|at| escape(model.values()[at].name()));
        table += &format!(
            "<p>{first} and {second}: cosine {}, they raise different tokens most at {:.1}% and would choose different \
             ones at {:.1}%.</p>\n",
            format!("{:.3}", conflict.cosine).replace('-', "−"),
            100.0 * conflict.favourites_differ,
            100.0 * conflict.choices_differ
        );
    }
    table + &format!("<p>{} tokens are explained.</p>\n", influence.tokens)
}

//! HTML pages that load nothing from elsewhere. Markup is written with `maud`, which escapes every text.

use maud::{DOCTYPE, Markup, PreEscaped, html};

/// A page of its own. `style` is CSS of the program in addition to the page's own. The policy in the page's head lets it load
/// and run nothing.
pub(crate) fn page(title: &str, style: &str, body: &Markup) -> String {
    let policy = "default-src 'none'; style-src 'unsafe-inline'";
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy" content=(policy);
                title { (title) }
                style { (PreEscaped(PAGE_STYLE)) (PreEscaped(style)) }
            }
            body { main { (body) } }
        }
    };
    page.into_string()
}

const PAGE_STYLE: &str = ":root{color-scheme:light dark}
body{margin:0;font:1rem/1.5 system-ui,sans-serif;background:light-dark(#fff,#121417);color:light-dark(#16191d,#e8eaed)}
main{max-width:60rem;margin:0 auto;padding:1rem}
h1{font-size:1.4rem;line-height:1.25;overflow-wrap:anywhere}
h2{font-size:1.1rem;margin-top:2rem}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{padding:.2rem .6rem;text-align:right;border-bottom:1px solid light-dark(#d5d9de,#3a3f46)}
th{font-weight:600}
th:first-child,td:first-child{text-align:left}
.scroll{overflow-x:auto}
code{font:.9em ui-monospace,monospace;overflow-wrap:anywhere}
@media (max-width:30rem){th,td{padding:.2rem .35rem}}
@media print{:root{color-scheme:light}main{max-width:none;padding:0}.scroll{overflow:visible}}
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_text_is_markup() {
        let page = page("a </title><script>", "", &html! { p title="\"'" { "<a href=\"x\">&" } });
        assert!(page.contains("<title>a &lt;/title&gt;&lt;script&gt;</title>"), "{page}");
        assert!(page.contains("<p title=\"&quot;'\">&lt;a href=&quot;x&quot;&gt;&amp;</p>"), "{page}");
        assert!(page.contains("content=\"default-src 'none'; style-src 'unsafe-inline'\""), "{page}");
    }
}

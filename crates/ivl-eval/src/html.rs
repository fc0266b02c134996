//! HTML that needs nothing from elsewhere.

/// Escapes text for element content and for attributes in double quotes.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            character => out.push(character),
        }
    }
    out
}

/// A page of its own: `body` is HTML, `style` CSS in addition to the page's. The policy in its head lets it load and run
/// nothing.
pub fn page(title: &str, style: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>{}</title>\n<style>\n{PAGE_STYLE}{style}</style>\n</head>\n<body>\n<main>\n{body}</main>\n</body>\n</html>\n",
        escape(title)
    )
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
        assert_eq!(escape("<a href=\"x\">'&'</a>"), "&lt;a href=&quot;x&quot;&gt;&#39;&amp;&#39;&lt;/a&gt;");
        let page = page("a </title><script>", "", "<p>body</p>\n");
        assert!(page.contains("<title>a &lt;/title&gt;&lt;script&gt;</title>"));
        assert!(page.contains("<p>body</p>"));
    }
}

"""The chat page in headless Chromium: answers side by side, colours, the slider, stop, keyboard, themes, a phone.

    python page_client.py [DIRECTORY FOR SCREENSHOTS]
"""

import pathlib
import shutil
import sys
import tempfile

from playwright.sync_api import expect, sync_playwright
from server import serving

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]


def opened(browser, address, **options):
    page = browser.new_page(**options)
    problems = []
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda request: problems.append(request.url) if not request.url.startswith((address, "data:")) else None)
    page.goto(address)
    expect(page.get_by_label("alpha of small")).to_have_value("0.5")
    return page, problems


def side_by_side(page, shots):
    page.get_by_label("alpha of small").fill("2")
    page.get_by_text("Settings").click()
    page.get_by_label("Most new tokens").fill("40")
    page.get_by_label("Message", exact=True).fill("Where does Suna live?")
    page.keyboard.press("Enter")
    answers = page.locator(".answer")
    expect(answers).to_have_count(2)
    expect(page.locator("#status")).to_have_text("Done.")
    expect(answers.nth(0)).to_contain_text("large alone")
    expect(answers.nth(1)).to_contain_text("with small × 2")
    assert len(answers.nth(0).locator("p").inner_text()) > 5 and len(answers.nth(1).locator("p").inner_text()) > 5
    assert answers.nth(1).locator(".token[data-sign]").count() > 0, "some tokens are coloured"
    assert answers.nth(0).locator(".token[data-sign]").count() == 0
    title = answers.nth(1).locator(".token[data-sign]").first.get_attribute("title")
    assert title.startswith("log-probability "), title
    boxes = [answers.nth(i).bounding_box() for i in range(2)]
    assert boxes[0]["y"] == boxes[1]["y"] and boxes[0]["x"] < boxes[1]["x"], "side by side"
    shots(page, "wide")
    page.get_by_label("Colour what the values changed").uncheck()
    plain = answers.nth(1).locator(".token[data-sign]").first
    assert plain.evaluate("e => getComputedStyle(e).backgroundColor") == "rgba(0, 0, 0, 0)"
    page.get_by_label("Colour what the values changed").check()


def stops(page):
    page.get_by_label("Most new tokens").fill("230")
    page.get_by_label("Message", exact=True).fill("Tell me all.")
    # Slowed down, so that there is something to stop.
    page.route("**/v1/chat/completions", lambda route: route.continue_())
    page.evaluate("() => { const real = fetch; window.fetch = async (...a) => { await new Promise(r => setTimeout(r, 300)); return real(...a); }; }")
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_role("button", name="Stop")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator(".turn").last.locator("footer").first).to_contain_text("stopped")
    expect(page.get_by_label("Message", exact=True)).to_be_focused()


def histories(page):
    """Each column goes on from its own answer; a stopped turn is not part of either."""
    page.evaluate("() => { window.sent = []; const real = fetch; window.fetch = (path, options) => {"
                  " if (options?.body) window.sent.push(JSON.parse(options.body)); return real(path, options); }; }")
    page.get_by_label("Most new tokens").fill("8")
    page.get_by_label("Message", exact=True).fill("And Tara?")
    page.keyboard.press("Enter")
    expect(page.locator("#status")).to_have_text("Done.")
    sent = {bool(body["ivl"]["values"]): body["messages"] for body in page.evaluate("window.sent")}
    first = page.locator(".turn").first.locator(".answer p")
    for column, messages in ((0, sent[False]), (1, sent[True])):
        assert [m["role"] for m in messages] == ["user", "assistant", "user"], messages
        assert messages[1]["content"] == first.nth(column).evaluate("e => e.textContent"), messages


def errors(page):
    """An error is shown once, as one; the turn is not part of the conversation."""
    page.get_by_text("System message").locator("textarea").fill("Suna " * 400)
    page.get_by_label("Message", exact=True).fill("Too long.")
    page.keyboard.press("Enter")
    expect(page.locator("#status")).to_have_class("error")
    expect(page.locator("#status")).to_contain_text("the context holds")
    assert page.get_by_text("the context holds").count() == 1
    expect(page.locator(".turn").last.locator("footer").first).to_have_text("failed")
    page.get_by_text("System message").locator("textarea").fill("")


def by_default(page):
    """Without a limit the answer may fill the context, however small that is."""
    page.get_by_role("button", name="New conversation").click()
    page.get_by_label("Most new tokens").fill("")
    page.get_by_label("Message", exact=True).fill("Who is Suna?")
    page.keyboard.press("Enter")
    expect(page.locator("#status")).to_have_text("Done.")


def by_keyboard(page):
    page.get_by_role("button", name="New conversation").click()
    expect(page.locator(".turn")).to_have_count(0)
    page.get_by_label("alpha of small").focus()
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_label("alpha of small")).to_have_value("1.95")
    page.get_by_label("alpha of small").fill("0")
    page.get_by_label("Message", exact=True).fill("Who is Tara?")
    page.keyboard.press("Enter")
    expect(page.locator("#status")).to_have_text("Done.")
    expect(page.locator(".answer")).to_have_count(1)


def names(page):
    """Everything that can be operated has a name."""
    nameless = page.evaluate("""() => [...document.querySelectorAll('button, input, textarea, summary')]
        .filter(e => !(e.labels?.length || e.getAttribute('aria-label') || e.textContent.trim())).map(e => e.outerHTML)""")
    assert nameless == [], nameless


def contrast(page):
    """Text on its ground, by the formula of WCAG 2: at least 4.5."""
    worst = page.evaluate("""() => {
        const light = (c) => { const [r, g, b] = c.match(/[\\d.]+/g).map(Number).map(v => v / 255)
            .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
        const ground = (e) => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;
            if (!c.endsWith(', 0)') && !c.includes('/ 0')) return c; } return 'rgb(255,255,255)'; };
        return Math.min(...[...document.querySelectorAll('h1,h2,label,button:not([hidden]),summary,footer,.asked,.answer p')]
            .filter(e => e.checkVisibility() && e.textContent.trim())
            .map(e => [light(getComputedStyle(e).color), light(ground(e))].sort((a, b) => b - a))
            .map(([a, b]) => (a + 0.05) / (b + 0.05)));
    }""")
    assert worst >= 4.5, worst


def main():
    directory = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp())
    shots = lambda page, name: page.screenshot(path=directory / f"{name}.png")
    with serving() as (address, _), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        page, problems = opened(browser, address, viewport={"width": 1200, "height": 800}, color_scheme="light")
        side_by_side(page, shots)
        names(page)
        contrast(page)
        stops(page)
        histories(page)
        by_default(page)
        by_keyboard(page)
        assert problems == [], problems
        errors(page)
        page.close()
        for scheme, size, name in (("dark", (1200, 800), "dark"), ("dark", (390, 844), "phone"), ("light", (390, 844), "phone-light")):
            page, problems = opened(
                browser, address, viewport={"width": size[0], "height": size[1]}, color_scheme=scheme, has_touch=size[0] < 500)
            side_by_side(page, lambda *_: None)
            contrast(page)
            assert page.evaluate("document.documentElement.scrollWidth") <= size[0], "no sideways scrolling"
            shots(page, name)
            page.get_by_role("button", name="Theme").click()
            page.close()
            assert problems == [], problems
        browser.close()
    print("chat page: side by side, colours, stop, histories, errors, keyboard, names, contrast, dark, phone ok")


main()

"""Demonstration page in a headless Chromium: asking, streaming, stopping, comparing, sampling, hostile text, access."""

import re
import shutil
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import served_tiny
from demo_server import DemoServer, Script, serve

from r1jax.serve import served
from r1jax.serve.cards import ModelCard
from r1jax.serve.config import ServeConfig
from r1jax.serve.demo_examples import Example

sync_api = pytest.importorskip("playwright.sync_api")
expect = sync_api.expect
expect.set_options(timeout=60_000)  # a busy machine is no fault of the page
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(
    not CHROMIUM, reason="no chromium: on Debian or Ubuntu, 'apt install chromium' brings it"
)

CARDS = [
    ModelCard("base", "Base", "Pretrained on documents.", "r1jax train --config=base:world", {"pass@1": "69.5%"}),
    ModelCard("zero", "R1-Zero", "RL from the base."),
    ModelCard("r1", "R1", "The whole recipe."),
]
SUM = Example("sum", "What is 9 + 6 + 4?", "19", "maths", "9 + 6 + 4", "en")
OPEN = Example("open", "Hello, I am Alice.", "", "open", "Hello, I am Alice.", "en")
HOSTILE = (
    "<img src=x onerror=\"window.hit=1\"><script>window.hit=1</script><a href='javascript:window.hit=1'>x</a>"
    "</details></article><style>*{display:none}</style><iframe src=https://example.org></iframe>\u202e {{7*7}} ${1}"
)
SCRIPTS = {
    "base": Script([("", "It is 20.")], 0.02),
    "zero": Script([("9+6=15，再算 15+4=19. Wait, let me check: 19-4=15", " 19 "), ("9+6=14, 14+4=18", "18")], 0.02),
    "r1": Script([("First add 9 and 6, then 4 to the sum.", "The answer is 19.")], 0.02),
}


@pytest.fixture(scope="module")
def browser() -> Iterator["sync_api.Browser"]:
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def shared_server() -> Iterator[DemoServer]:
    with serve(SCRIPTS, CARDS, [SUM, OPEN]) as server:
        yield server


@pytest.fixture
def server(shared_server: DemoServer) -> DemoServer:
    """The server of most tests, as if nothing had been asked yet."""
    shared_server.asked.clear()
    shared_server.given_up = 0
    shared_server.scripts = dict(SCRIPTS)
    shared_server.key = ""
    return shared_server


@pytest.fixture
def page(browser, server: DemoServer) -> Iterator["sync_api.Page"]:
    yield from opened(browser, server)


def opened(browser, server: DemoServer, expected_errors: int = 0, **options) -> Iterator["sync_api.Page"]:
    """The page, which must ask no other host, log no error and open no dialog of the browser."""
    context = browser.new_context(**{"viewport": {"width": 1200, "height": 900}} | options)
    page, requests, errors = context.new_page(), [], []
    page.set_default_timeout(60_000)
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: errors.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("dialog", lambda dialog: errors.append(dialog.message))
    page.goto(server.url)
    page.get_by_role("tab", selected=True).wait_for()
    yield page
    assert [url for url in requests if not url.startswith(server.url)] == []
    assert len(errors) == expected_errors, errors
    context.close()


def column(page, title: str):
    return page.get_by_role("tabpanel").get_by_role("article", name=title, exact=True)


def finished(page) -> None:
    page.locator("body:not(.running)").wait_for()


def field(page):
    return page.get_by_role("textbox", name="Question", exact=True)


def ask(page, question: str) -> None:
    field(page).fill(question)
    page.get_by_role("button", name="Ask", exact=True).click()


def test_several_models_answer_side_by_side_with_marks_and_grades(page, server: DemoServer) -> None:
    expect(page.get_by_role("tab", selected=True)).to_have_text("Side by side")
    page.get_by_role("button", name="9 + 6 + 4").click()
    expect(field(page)).to_have_value(SUM.question)
    expect(page.get_by_text("Reference answer: 19")).to_be_visible()
    base, zero, r1 = (column(page, title) for title in ("Base", "R1-Zero", "R1"))
    expect(base.get_by_text("✗ wrong")).to_be_visible()
    expect(zero.get_by_text("✓ correct")).to_be_visible()
    expect(r1.get_by_text("✓ correct")).to_be_visible()
    assert {body["model"] for body in server.asked} == {"base", "zero", "r1"}
    assert zero.locator("mark.reflection").all_text_contents() == ["再算", "Wait", "let me", "check"]
    assert zero.locator("mark.script").all_text_contents() == ["再算"]
    assert zero.locator("mark.script").get_attribute("data-label") == "Chinese"
    assert zero.locator("mark.script").get_attribute("lang") == "zh"
    expect(zero).to_contain_text(re.compile(r"4\s+reflection\s+words · mixed\s+with\s+Chinese"))
    expect(r1.get_by_role("group")).to_contain_text(re.compile(r"Thought\s*7\s+tokens · \d\.\d\s+s"))
    expect(base.get_by_role("group")).to_have_count(0)  # it has no thought
    expect(page.get_by_role("log")).to_contain_text("R1-Zero, correct: 19")


def test_text_arrives_before_the_end_and_escape_stops_the_sampling(page, server: DemoServer) -> None:
    server.scripts["r1"] = Script([("one two three " * 100, "4")], 0.05)
    page.get_by_role("tab", name="One model").click()
    ask(page, "Count.")
    response = column(page, "R1")
    expect(response).to_contain_text("one two")
    expect(response).to_have_attribute("aria-busy", "true")
    expect(page.locator("body")).to_have_class("running")
    page.keyboard.press("Escape")
    expect(response).to_contain_text("Stopped.")
    finished(page)
    expect(response).not_to_have_attribute("aria-busy", "true")
    text = response.locator(".thought-text").text_content()
    assert text and len(text) < 1000
    page.wait_for_timeout(300)
    assert response.locator(".thought-text").text_content() == text
    assert server.given_up == 1
    expect(page.get_by_role("button", name="Stop")).to_be_disabled()


def test_a_new_question_replaces_one_that_still_runs(page, server: DemoServer) -> None:
    server.scripts["zero"] = Script([("slow " * 200, "1")], 0.05)
    ask(page, "First?")
    expect(column(page, "R1-Zero")).to_contain_text("slow")
    server.scripts["zero"] = Script([("quick", "2")])
    ask(page, "Second?")
    finished(page)
    zero = column(page, "R1-Zero")
    expect(zero.locator(".answer")).to_have_text("2")
    expect(zero).not_to_contain_text("slow")
    expect(zero).not_to_contain_text("Stopped")
    assert server.given_up == 1


def test_markup_of_a_model_is_text(page, server: DemoServer) -> None:
    server.scripts |= {name: Script([(HOSTILE, HOSTILE)]) for name in server.scripts}
    ask(page, HOSTILE)
    finished(page)
    for tab in ("One model", "Sample 16"):
        page.get_by_role("tab", name=tab).click()
        page.get_by_role("button", name="Ask", exact=True).click()
        finished(page)
    page.wait_for_timeout(100)
    assert page.evaluate("window.hit") is None
    assert page.locator("main :is(img, script, iframe, style, a)").count() == 0
    assert page.locator("#compare .answer").first.text_content() == HOSTILE
    assert page.locator("#compare .thought-text").first.text_content() == HOSTILE


def test_sixteen_samples_are_counted_as_votes(page, server: DemoServer) -> None:
    page.get_by_role("tab", name="Sample 16").click()
    page.get_by_role("combobox", name="Model", exact=True).select_option("R1-Zero")
    server.scripts["zero"] = Script([("a", "19"), ("b", "The answer is 19."), ("c", "18"), ("d", "")], 0.01)
    page.get_by_role("button", name="9 + 6 + 4").click()
    finished(page)
    assert [body["n"] for body in server.asked] == [16]
    panel = page.get_by_role("tabpanel")
    votes = panel.locator(".votes > li")
    expect(votes).to_have_count(2)
    expect(votes.nth(0)).to_contain_text(re.compile(r"19.*8 votes.*✓ correct"))
    expect(votes.nth(1)).to_contain_text(re.compile(r"18.*4 votes.*✗ wrong"))
    figures = "Majority: 19 · cons@16: ✓ correct · pass@1: 50% (8 of 16 samples) · 4 samples without an answer"
    expect(panel.locator(".figures")).to_have_text(figures)
    expect(panel.locator(".card").nth(3)).to_contain_text("✗ no answer")


def test_an_open_request_is_not_graded_and_a_question_of_ones_own_is_voted_on(page, server: DemoServer) -> None:
    page.get_by_role("button", name="Hello, I am Alice.").click()
    finished(page)
    expect(page.get_by_text("responses are not graded")).to_be_visible()
    expect(page.locator("#compare .badge:visible")).to_have_count(0)
    page.get_by_role("tab", name="Sample 16").click()
    page.get_by_role("combobox", name="Model", exact=True).select_option("Base")
    ask(page, "What is 9 + 6 + 5?")
    finished(page)
    expect(page.locator(".votes > li")).to_contain_text("16 votes")
    expect(page.locator(".figures").first).not_to_contain_text("correct")


def test_a_question_is_edited_and_a_response_regenerated_and_copied(browser, server: DemoServer) -> None:
    for page in opened(browser, server, permissions=["clipboard-read", "clipboard-write"]):
        page.get_by_role("tab", name="One model").click()
        page.get_by_role("button", name="Settings").click()
        page.get_by_label("Seed").fill("7")
        page.get_by_label("send earlier questions").check()
        ask(page, "One?")
        finished(page)
        ask(page, "Two?")
        finished(page)
        page.get_by_role("button", name="Regenerate").last.click()
        finished(page)
        assert [body["seed"] for body in server.asked] == [7, 7, 8]
        roles = [(message["role"], message["content"]) for message in server.asked[-1]["messages"]]
        assert roles == [("user", "One?"), ("assistant", "The answer is 19."), ("user", "Two?")]
        page.get_by_role("button", name="Copy").last.click()
        expect(page.get_by_role("button", name="Copied")).to_be_visible()
        assert page.evaluate("navigator.clipboard.readText()") == "The answer is 19."
        page.get_by_role("button", name="Edit").first.click()
        expect(field(page)).to_have_value("One?")
        expect(field(page)).to_be_focused()
        ask(page, "Three?")
        finished(page)
        assert [message["content"] for message in server.asked[-1]["messages"]] == ["Three?"]
        expect(page.locator(".turns > li")).to_have_count(1)


def test_settings_reach_the_server_and_wrong_ones_do_not(page, server: DemoServer) -> None:
    ask(page, "Hm?")
    finished(page)
    body = server.asked[-1]
    assert (body["temperature"], body["top_p"], body["template"]) == (0.6, 0.95, None)
    assert body["stream"] and "seed" not in body and "max_tokens" not in body
    page.get_by_role("button", name="Settings").click()
    for label, value in (("Temperature", "1"), ("Top-p", "0.5"), ("Seed", "3"), ("Max tokens", "50")):
        page.get_by_label(label).fill(value)
    page.get_by_label("Template").select_option("dialogue")
    ask(page, "Hm?")
    finished(page)
    body = server.asked[-1]
    assert (body["temperature"], body["top_p"], body["template"]) == (1, 0.5, "dialogue")
    assert (body["seed"], body["max_tokens"]) == (3, 50)
    count = len(server.asked)
    page.get_by_label("Temperature").fill("9")
    page.get_by_role("button", name="Settings").click()
    ask(page, "Hm?")
    expect(page.get_by_label("Temperature")).to_be_visible()
    assert len(server.asked) == count


def test_a_busy_server_is_asked_again_and_an_error_is_said_where_it_happened(browser, server: DemoServer) -> None:
    # The browser logs each refusal.
    for page in opened(browser, server, expected_errors=1):
        server.scripts["base"] = Script([("", "late")], busy=1)
        server.scripts["r1"] = Script([("a long thought that is cut", "x")], cut_at=2)
        ask(page, "Hm?")
        expect(column(page, "Base")).to_contain_text("The server is busy")
        finished(page)
        expect(column(page, "Base").locator(".answer")).to_have_text("late")
        alert = column(page, "R1").get_by_role("alert")
        expect(alert).to_have_text("It broke off: the connection ended before the answer was whole")
        expect(column(page, "R1")).to_contain_text("a long thoug")
        expect(column(page, "R1-Zero").locator(".answer")).to_have_text("19")


def test_a_key_is_asked_for_once_and_kept_in_the_tab(browser, server: DemoServer) -> None:
    server.key = "s3cret"
    context = browser.new_context()
    page = context.new_page()
    page.goto(server.url)
    dialog = page.get_by_role("dialog", name="API key")
    dialog.get_by_label("Key", exact=True).fill("wrong")
    dialog.get_by_role("button", name="Use it").click()
    expect(dialog.get_by_label("Key", exact=True)).to_have_value("")
    dialog.get_by_label("Key", exact=True).fill("s3cret")
    page.keyboard.press("Enter")
    ask(page, SUM.question)
    expect(column(page, "R1").get_by_text("✓ correct")).to_be_visible()
    page.reload()
    expect(page.get_by_role("button", name="9 + 6 + 4")).to_be_visible()
    assert page.evaluate("[sessionStorage.length, localStorage.length, document.cookie]") == [1, 0, ""]
    context.close()


def test_the_keyboard_suffices(page, server: DemoServer) -> None:
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the question")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.type(SUM.question)
    page.keyboard.press("Control+Enter")
    expect(column(page, "R1").get_by_text("✓ correct")).to_be_visible()
    page.get_by_role("tab", name="Side by side").focus()
    for name in ("One model", "Sample 16", "Notes", "Side by side"):
        page.keyboard.press("ArrowRight")
        expect(page.get_by_role("tab", name=name)).to_be_focused()
        expect(page.get_by_role("tabpanel", name=name)).to_be_visible()
    summary = column(page, "R1").locator("summary")
    summary.focus()
    page.keyboard.press("Enter")
    expect(column(page, "R1").locator(".thought-text")).to_be_hidden()


def test_a_model_that_is_left_out_is_not_asked_and_shows_no_earlier_response(page, server: DemoServer) -> None:
    ask(page, "First?")
    finished(page)
    page.get_by_role("checkbox", name="Base").uncheck()
    expect(column(page, "Base")).to_be_hidden()
    server.asked.clear()
    ask(page, "Second?")
    finished(page)
    assert sorted(body["model"] for body in server.asked) == ["r1", "zero"]
    page.get_by_role("checkbox", name="Base").check()
    expect(column(page, "Base")).to_contain_text("Not asked.")
    expect(column(page, "Base")).not_to_contain_text("It is 20.")


def test_without_a_thought_the_answer_is_marked(page, server: DemoServer) -> None:
    server.scripts["base"] = Script([("", "Wait, 再算 one.")])
    ask(page, "Hm?")
    finished(page)
    assert column(page, "Base").locator(".answer mark.reflection").all_text_contents() == ["Wait", "再算"]
    assert column(page, "R1-Zero").locator(".answer mark").count() == 0


def test_the_notes_present_each_model(page) -> None:
    page.get_by_role("tab", name="Notes").click()
    note = column(page, "Base")
    expect(note).to_contain_text("Pretrained on documents.")
    expect(note).to_contain_text("r1jax train --config=base:world")
    expect(note.get_by_role("definition")).to_have_text("69.5%")
    ask(page, "Hm?")
    expect(page.get_by_role("tabpanel", name="Side by side")).to_be_visible()
    finished(page)


def test_a_phone_shows_all_without_scrolling_sideways(browser, server: DemoServer) -> None:
    server.scripts["r1"] = Script([("w" * 400, "9" * 300)])
    for page in opened(browser, server, viewport={"width": 360, "height": 740}, has_touch=True):
        for tab in ("Side by side", "One model", "Sample 16"):
            page.get_by_role("tab", name=tab).click()
            ask(page, "What " + "is" * 200)
            finished(page)
            assert page.evaluate("document.scrollingElement.scrollWidth") <= 360, tab
        expect(page.get_by_role("tab", name=tab)).to_be_in_viewport()
        page.get_by_role("tab", name="Notes").click()
        assert page.evaluate("document.scrollingElement.scrollWidth") <= 360


def test_the_page_is_light_or_dark_as_the_system(page) -> None:
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        colours = page.evaluate("['backgroundColor', 'color'].map((name) => getComputedStyle(document.body)[name])")
        ground, ink = (sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in colours)
        assert (ground > ink) == (scheme == "light")


def test_one_served_model_has_no_comparison(browser) -> None:
    with serve({"own/model": Script([("", "Hi.")])}, CARDS, []) as server:
        for page in opened(browser, server):
            expect(page.get_by_role("tab", name="Side by side")).to_be_hidden()
            expect(page.get_by_role("tab", selected=True)).to_have_text("One model")
            ask(page, "Hello?")
            expect(column(page, "own/model").locator(".answer")).to_have_text("Hi.")
            finished(page)


def test_the_shipped_models_answer_side_by_side_and_are_sampled_sixteen_times(browser, mesh1, shared_engines) -> None:
    cfg = ServeConfig(port=0, slots=16, max_length=256)
    models = served.load(["mini-base", "mini-r1-zero"], cfg, mesh1)
    with served_tiny.serve(models, mesh1, cfg) as running:
        server = SimpleNamespace(url=running.url.removesuffix("v1"))
        for page in opened(browser, server):
            page.get_by_role("button", name="Settings").click()
            page.get_by_label("Max tokens").fill("100")
            page.get_by_role("button", name=re.compile(r"^\d+ [+-] \d+")).first.click()
            finished(page)
            for title in ("Base model", "R1-Zero"):
                response = column(page, title)
                expect(response).to_have_attribute("data-outcome", "done")
                expect(response).to_contain_text(re.compile(r"✓ correct|✗ wrong|✗ no answer"))
                expect(response).to_contain_text(re.compile(r"\d+\s+tokens?"))
            page.get_by_role("tab", name="Sample 16").click()
            page.get_by_role("button", name="Ask", exact=True).click()
            finished(page)
            expect(page.locator(".card .badge:visible")).to_have_count(16)
            expect(page.locator(".figures").first).to_contain_text(re.compile(r"pass@1: \d+% \(\d+ of 16 samples\)"))

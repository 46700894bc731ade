"""The page in a real browser, beside a running demo. Pictures of it are left in `build/screenshots`."""

import itertools
import json
import re
import shutil
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Route, expect, sync_playwright

from tests.cli.running import MODEL, Demo, demo
from tests.processes import ROOT, eventually
from tests.weights import smollm2

CHROMIUM = shutil.which("chromium")
PICTURES = ROOT / "build" / "screenshots"
WAIT_MS = 30_000

pytestmark = [
    pytest.mark.browser,
    pytest.mark.envoy,
    pytest.mark.engine,
    pytest.mark.timeout(120),
    pytest.mark.skipif(CHROMIUM is None, reason="no `chromium` on PATH (tests/setup.sh)"),
]

LOW_CONTRAST = """() => {
  const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (colour) => {
    const [r, g, b] = numbers(colour).slice(0, 3).map((v) => {
      const part = v / 255;
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      const [, , , alpha = 1] = numbers(colour);
      if (alpha === 1) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const found = [];
  for (const node of document.querySelectorAll("body *")) {
    const words = [...node.childNodes].filter((c) => c.nodeType === 3 && c.textContent.trim()).length;
    if (!words || !node.checkVisibility() || node.closest(".bar, .skip, .quiet, :disabled")) continue;
    const a = light(getComputedStyle(node).color);
    const b = light(ground(node));
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const about = `${node.tagName} ${node.className} ${node.textContent.slice(0, 40)}`;
    if (ratio < 4.5) found.push(`${about}: ${ratio.toFixed(2)}`);
  }
  return found;
}"""
"""Texts that stand out from their ground by less than WCAG 2.2 asks for (1.4.3: 4.5 to 1)."""


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    smollm2()
    with demo(tmp_path_factory.mktemp("page")) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def page(browser: Browser, up: Demo) -> Iterator[Page]:
    """The page, looked at with the demo's key; no script of it may fail."""
    context = browser.new_context(viewport={"width": 1400, "height": 1000}, color_scheme="light")
    opened = context.new_page()
    wrong: list[str] = []

    def said(message: ConsoleMessage) -> None:
        # What the network refuses is told on the page, and tested there.
        if message.type == "error" and not message.text.startswith("Failed to load resource"):
            wrong.append(message.text)

    opened.route("**/chat/completions", repeatable)
    opened.on("console", said)
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.goto(up.line("page "))
    expect(opened.locator(".node")).to_have_count(3, timeout=WAIT_MS)
    yield opened
    context.close()
    assert wrong == []


def repeatable(route: Route) -> None:
    """The question as it was sent, answered the same each time and not for ever."""
    body = {**(route.request.post_data_json or {}), "temperature": 0, "max_tokens": 200}
    route.continue_(post_data=json.dumps(body))


def picture(page: Page, name: str) -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=PICTURES / f"{name}.png", full_page=True)


def test_the_link_of_the_demo_shows_the_rack_and_forgets_its_key_in_the_address(page: Page, up: Demo) -> None:
    key = up.line("key ")
    assert key not in page.url
    assert page.evaluate("sessionStorage.getItem('aivailable-key')") == key
    expect(page.locator("#live")).to_have_text("live")
    expect(page.locator("#models tr")).to_have_count(1)
    expect(page.locator("#models .serving")).to_have_text("2 of 2", timeout=WAIT_MS)
    bars = page.get_by_role("img", name=re.compile("NVIDIA GeForce GTX 1080"))
    expect(bars).to_have_count(2)
    expect(page.locator(".card .tenants li")).to_have_count(2)
    expect(page.locator("#simulated")).to_be_visible()


def test_without_a_good_key_nothing_is_shown(browser: Browser, up: Demo) -> None:
    address = up.line("page ").partition("#")[0]
    context = browser.new_context()
    page = context.new_page()
    page.goto(address)
    expect(page.locator("#inside")).to_be_hidden()
    page.get_by_label("API key").fill("sk-wrong")
    page.keyboard.press("Enter")
    expect(page.locator("#refused")).to_contain_text("needs an API key")
    expect(page.locator("#inside")).to_be_hidden()
    expect(page.locator(".node")).to_have_count(0)

    page.get_by_label("API key").fill(up.line("key "))
    page.get_by_role("button", name="Look").click()
    expect(page.locator(".node")).to_have_count(3, timeout=WAIT_MS)
    page.get_by_role("button", name="Forget the key").click()
    expect(page.locator(".node")).to_have_count(0)
    page.reload()
    expect(page.locator("#inside")).to_be_hidden()
    context.close()


def test_a_chat_streams(page: Page) -> None:
    page.evaluate(
        """() => {
          window.lengths = [];
          new MutationObserver(() => {
            const answer = document.querySelector(".message.assistant p");
            if (answer) window.lengths.push(answer.textContent.length);
          }).observe(document.getElementById("talk"), { subtree: true, childList: true, characterData: true });
        }"""
    )
    expect(page.get_by_label("Model", exact=True)).to_have_value(MODEL)
    page.get_by_label("Your message").fill("Tell me of Paris in three sentences.")
    page.keyboard.press("Enter")

    expect(page.locator("#speed")).to_contain_text("pieces", timeout=WAIT_MS)
    answer = page.locator(".message.assistant p").inner_text()
    lengths = page.evaluate("window.lengths")
    assert len(answer) > 10
    assert len({n for n in lengths if 0 < n < len(answer)}) > 2, lengths
    expect(page.locator(".message.assistant")).to_have_attribute("aria-busy", "false")
    expect(page.locator("#models td.number").first).to_have_text(re.compile("[1-9]"), timeout=WAIT_MS)
    picture(page, "chat")


def test_a_chat_can_be_stopped_and_a_refusal_is_told(page: Page) -> None:
    page.get_by_label("Your message").fill("Tell me a very long story.")
    page.get_by_role("button", name="Send").click()
    expect(page.locator(".message.assistant p").first).not_to_be_empty(timeout=WAIT_MS)
    page.get_by_role("button", name="Stop").click()
    expect(page.locator(".message.assistant .hint")).to_have_text("Stopped.")

    page.evaluate(
        """(name) => {
          const select = document.getElementById("model");
          select.add(new Option(name, name));
          select.value = name;
        }""",
        "no-such-model",
    )
    with page.expect_console_message(lambda message: "404" in message.text):
        page.get_by_label("Your message").fill("Hello")
        page.keyboard.press("Enter")
    expect(page.locator(".message.assistant .bad")).to_contain_text("no-such-model")


def test_a_new_conversation_knows_nothing_of_the_one_that_was_cut_off(page: Page) -> None:
    page.get_by_label("Your message").fill("Tell me a very long story.")
    page.keyboard.press("Enter")
    expect(page.locator(".message.assistant p").first).not_to_be_empty(timeout=WAIT_MS)
    page.get_by_role("button", name="New conversation").click()
    expect(page.locator(".message")).to_have_count(0)
    expect(page.get_by_role("button", name="Send")).to_be_enabled()

    page.get_by_label("Your message").fill("What is the capital of France?")
    with page.expect_request("**/chat/completions") as asked:
        page.keyboard.press("Enter")
    sent = asked.value.post_data_json
    assert [message["role"] for message in sent["messages"]] == ["system", "user"]
    expect(page.locator("#speed")).to_contain_text("pieces", timeout=WAIT_MS)


def test_a_killed_node_turns_red_and_its_models_move(page: Page, up: Demo) -> None:
    node = page.locator(".node", has=page.get_by_role("heading", name="node2"))
    expect(node).to_have_attribute("data-state", "up")
    expect(page.locator(".replicas")).to_contain_text("node2", timeout=WAIT_MS)
    try:
        up.ok("demo", "kill", "node2")
        expect(node).to_have_attribute("data-state", "down", timeout=WAIT_MS)
        bad = page.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--bad').trim()")
        assert node.evaluate("(node) => getComputedStyle(node).borderTopColor") == rgb(bad)
        expect(page.locator("#summary")).to_contain_text("node2 down")
        expect(page.locator("#models .serving")).to_have_text("2 of 2", timeout=WAIT_MS)
        expect(page.locator(".replicas")).not_to_contain_text("node2", timeout=WAIT_MS)
        expect(page.locator("#decisions")).to_contain_text("node2")
        for theme in ("light", "dark"):
            page.emulate_media(color_scheme=theme)  # type: ignore[arg-type] # both are its own words
            expect(page.locator("html")).to_have_attribute("data-theme", theme)
            assert page.evaluate(LOW_CONTRAST) == []
            picture(page, f"node-down-{theme}")
    finally:
        up.ok("demo", "revive", "node2")
    expect(node).to_have_attribute("data-state", "up", timeout=WAIT_MS)


def test_the_page_is_readable_in_both_themes_and_keeps_the_one_chosen(page: Page) -> None:
    for theme, other in (("light", "Dark"), ("dark", "Light")):
        expect(page.locator("html")).to_have_attribute("data-theme", theme)
        assert page.evaluate(LOW_CONTRAST) == []
        picture(page, theme)
        page.get_by_role("button", name=other).click()
    page.get_by_role("button", name="Dark").click()
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")


def test_everything_is_reached_by_keyboard_and_named_for_readers(page: Page) -> None:
    page.evaluate("document.activeElement.blur()")
    reached = []
    for _ in range(16):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.className"))
    assert reached[0] == "skip"
    for name in ("theme", "leave", "model", "anew", "talk", "words", "send", "decisions"):
        assert name in reached, reached
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll("#inside button, #inside select, #inside textarea, header button")]
          .filter((n) => !(n.labels?.length || n.textContent.trim() || n.getAttribute("aria-label")))
          .map((n) => n.id)"""
    )
    assert unnamed == []
    levels = page.evaluate("[...document.querySelectorAll('h1, #inside h2, #inside h3')].map((n) => +n.tagName[1])")
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


def test_a_list_with_equal_keys_does_not_grow(page: Page) -> None:
    """As of two tenants that a key may not name, on one card, with equal claims."""
    counts = page.evaluate(
        """async () => {
          const { each, element, text } = await import("./dom.js");
          const list = document.createElement("ul");
          const counts = [];
          for (const items of [["a", "a"], ["a", "a", "b"], ["a", "b"], ["b"], []]) {
            each(list, items, (item) => item, () => element("li"), (line, item) => text(line, item));
            counts.push([...list.children].map((line) => line.textContent).join(""));
          }
          return counts;
        }"""
    )
    assert counts == ["aa", "aab", "ab", "b", ""]


def test_a_link_opened_in_a_tab_that_looks_already_is_taken_as_well(page: Page, up: Demo) -> None:
    other = up.ok("keys", "create", "other").strip().splitlines()[-1].strip()
    headers, picture_url = {"authorization": f"Bearer {other}"}, up.line("page ").partition("#")[0] + "api/picture"
    eventually(lambda: httpx.get(picture_url, headers=headers, timeout=10, trust_env=False).status_code == 200)
    page.evaluate("(key) => { location.hash = `key=${key}`; }", other)

    page.wait_for_function("(key) => sessionStorage.getItem('aivailable-key') === key", arg=other, timeout=WAIT_MS)
    expect(page.locator(".node")).to_have_count(3, timeout=WAIT_MS)
    assert other not in page.url
    up.ok("keys", "revoke", "other")
    expect(page.locator("#refused")).to_contain_text("API key", timeout=WAIT_MS)


def test_it_fits_a_telephone(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    picture(page, "narrow")


def test_a_connection_that_is_lost_is_told_and_found_again(page: Page) -> None:
    """The stream is cut off for good by what stands between; a new one is let through later."""
    page.route("**/api/live", lambda route: route.abort())
    page.reload()
    expect(page.locator("#live")).to_contain_text("lost", timeout=WAIT_MS)
    page.unroute("**/api/live")
    expect(page.locator("#live")).to_have_text("live", timeout=WAIT_MS)
    expect(page.locator(".node")).to_have_count(3, timeout=WAIT_MS)


def rgb(hexadecimal: str) -> str:
    """`#aabbcc` as browsers compute it."""
    return "rgb(" + ", ".join(str(int(hexadecimal[i : i + 2], 16)) for i in (1, 3, 5)) + ")"

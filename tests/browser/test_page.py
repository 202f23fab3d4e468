"""The page in a real browser, from disk, with the recording beside it. Collected by `make test-browser` only."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from scribe.formats import FORMATS, TextOptions
from scribe.transcript import Segment, Speaker, Transcript, Word

SAMPLES = Path(__file__).resolve().parents[2] / "samples"


def conversation() -> Transcript:
    """The sample conversation as its ground truth tells it."""
    truth = json.loads((SAMPLES / "conversation.json").read_text())
    segments = []
    for turn in truth["turns"]:
        said = [
            w for w in truth["words"] if w["speaker"] == turn["speaker"] and turn["start"] <= w["start"] < turn["end"]
        ]
        words = tuple(Word(w["word"], w["start"], w["end"], 1.0, turn["speaker"]) for w in said)
        segments.append(Segment(turn["start"], turn["end"], turn["text"], words, turn["speaker"]))
    speakers = tuple(Speaker(s["name"], s["name"], 0.8) for s in truth["speakers"])
    return Transcript(truth["language"], truth["duration"], tuple(segments), speakers)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The system's Chromium where there is one, else the one that playwright has installed."""
    system = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with sync_playwright() as playwright:
        # Containers run as root and without user namespaces, where Chromium's own sandbox cannot start.
        browser = playwright.chromium.launch(executable_path=system, args=["--no-sandbox", "--mute-audio"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, tmp_path: Path) -> Iterator[Page]:
    """The open page of the conversation; fails when the page logs an error or asks the network for anything."""
    text = FORMATS["html"].render(conversation(), TextOptions(audio_name="conversation.mp3"))
    (tmp_path / "transcript.html").write_text(text, encoding="utf-8")
    shutil.copy(SAMPLES / "conversation.mp3", tmp_path)
    context = browser.new_context()
    page = context.new_page()
    errors: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto((tmp_path / "transcript.html").as_uri())
    eventually(page, "audio.readyState >= 1")
    yield page
    context.close()
    assert errors == []
    assert all(url.startswith("file:") for url in asked)


def eventually(page: Page, condition: str) -> None:
    """Wait until the condition holds. Playwright's own waiting uses eval, which the page's policy forbids."""
    for _ in range(200):
        if page.evaluate(f"(audio => {condition})(document.querySelector('audio'))"):
            return
        page.wait_for_timeout(50)
    pytest.fail(f"never came true: {condition}")


def time_of(page: Page) -> float:
    return page.evaluate("document.querySelector('audio').currentTime")


def test_a_click_on_a_word_plays_from_that_word(page: Page) -> None:
    word = page.locator("main p span").nth(8)
    wanted = float(word.get_attribute("data-t"))
    word.click()
    eventually(page, "!audio.paused")
    assert wanted > 1
    assert wanted <= time_of(page) < wanted + 2


def test_the_word_that_is_heard_is_marked_while_it_plays(page: Page) -> None:
    first = page.locator("main p span").first
    first.click()
    eventually(page, f"audio.currentTime > {first.get_attribute('data-t')} + 0.6")
    expect(page.locator(".now")).to_have_count(1)
    expect(first).not_to_have_class("now")


def test_the_time_of_a_paragraph_can_be_clicked(page: Page) -> None:
    mark = page.locator("button.at").nth(3)
    mark.click()
    eventually(page, f"audio.currentTime >= {mark.get_attribute('data-t')}")


def test_keys_play_pause_seek_and_search(page: Page) -> None:
    page.keyboard.press("ArrowRight")
    assert time_of(page) == 5
    page.keyboard.press("ArrowLeft")
    assert time_of(page) == 0
    page.keyboard.press("ArrowDown")
    assert time_of(page) == conversation().segments[0].start
    page.keyboard.press("Space")
    eventually(page, "!audio.paused")
    page.keyboard.press("Space")
    eventually(page, "audio.paused")
    page.keyboard.press("/")
    expect(page.locator("input[type=search]")).to_be_focused()


def test_search_finds_phrases_across_words_and_counts_them(page: Page) -> None:
    first = conversation().segments[0].text.split()
    search = page.locator("input[type=search]")
    search.fill(" ".join(first[1:3]).upper())
    text = page.locator("main").inner_text().lower()
    expect(page.locator("#count")).to_have_text(f"{text.count(' '.join(first[1:3]).lower())} found")
    search.press("Enter")
    expect(page.locator(".found").first).to_have_text(first[1])
    expect(page.locator("#count")).to_contain_text("1 of")
    search.press("Escape")
    expect(page.locator(".hit")).to_have_count(0)


def test_without_a_recording_beside_it_the_reader_picks_one(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "transcript.html").write_text(FORMATS["html"].render(conversation(), TextOptions()), encoding="utf-8")
    page = browser.new_page()
    page.goto((tmp_path / "transcript.html").as_uri())
    page.locator("#pick input").set_input_files(SAMPLES / "conversation.mp3")
    eventually(page, "audio.readyState >= 1")
    page.locator("main p span").nth(8).click()
    eventually(page, "audio.currentTime > 1")
    page.close()


@pytest.mark.parametrize(
    "attack", ["<img src=x onerror=alert(1)>", "</script><script>alert(1)</script>", '"><svg onload=alert(1)>']
)
def test_no_name_and_no_text_runs_a_script(browser: Browser, tmp_path: Path, attack: str) -> None:
    spoken = Segment(0.0, 1.0, attack, (Word(attack, 0.0, 1.0),), attack)
    hostile = replace(conversation(), segments=(spoken,), speakers=(Speaker(attack, attack),), language=attack)
    page_text = FORMATS["html"].render(hostile, TextOptions(audio_name=attack))
    (tmp_path / "transcript.html").write_text(page_text, encoding="utf-8")
    page = browser.new_page()
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    page.goto((tmp_path / "transcript.html").as_uri())
    page.locator("main p span").first.wait_for()
    assert dialogs == []
    assert page.locator("script").count() == 1
    assert page.locator("img, svg").count() == 0
    page.close()


def test_the_page_is_dark_where_the_reader_likes_it_dark(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "transcript.html").write_text(FORMATS["html"].render(conversation(), TextOptions()), encoding="utf-8")
    colours = set()
    for scheme in ("light", "dark"):
        page = browser.new_page(color_scheme=scheme)
        page.goto((tmp_path / "transcript.html").as_uri())
        colours.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        page.close()
    assert len(colours) == 2

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


def opened(browser: Browser, folder: Path, transcript: Transcript, width=1200, height=800, audio_name="") -> Page:
    """The page of a transcript without a recording in its folder."""
    text = FORMATS["html"].render(transcript, TextOptions(audio_name=audio_name))
    (folder / "transcript.html").write_text(text, encoding="utf-8")
    page = browser.new_page(viewport={"width": width, "height": height})
    page.goto((folder / "transcript.html").as_uri())
    return page


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


def test_space_on_the_time_of_a_paragraph_jumps_there_and_does_not_pause(page: Page) -> None:
    mark = page.locator("button.at").nth(3)
    mark.focus()
    page.keyboard.press("Space")
    eventually(page, f"!audio.paused && audio.currentTime >= {mark.get_attribute('data-t')}")


def test_arrows_go_from_word_to_word_and_one_word_at_a_time_can_be_tabbed_to(page: Page) -> None:
    page.locator("button.at").first.focus()
    page.keyboard.press("Tab")
    words = page.locator("main p span")
    expect(words.first).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(words.nth(1)).to_be_focused()
    expect(page.locator("main [tabindex]")).to_have_count(1)
    page.keyboard.press("ArrowDown")
    expect(page.locator("section").nth(1).locator("p span").first).to_be_focused()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowLeft")
    expect(words.first).to_be_focused()
    assert time_of(page) == 0
    page.keyboard.press("Enter")
    eventually(page, f"!audio.paused && audio.currentTime >= {words.first.get_attribute('data-t')}")


def test_the_arrows_turn_where_the_text_runs_from_right_to_left(browser: Browser, tmp_path: Path) -> None:
    spoken = tuple(Word(text, n, n + 0.5, 0.9) for n, text in enumerate("مرحبا بكم في الاجتماع".split()))
    page = opened(browser, tmp_path, Transcript("ar", 4.0, (Segment(0.0, 4.0, "مرحبا بكم في الاجتماع", spoken),)))
    page.locator("main p span").first.focus()
    page.keyboard.press("ArrowLeft")
    expect(page.locator("main p span").nth(1)).to_be_focused()
    page.close()


def test_the_list_of_keys_opens_by_one_and_single_keys_can_be_switched_off(page: Page) -> None:
    page.keyboard.press("?")
    expect(page.locator("dialog")).to_be_visible()
    page.locator("#letters").uncheck()
    page.keyboard.press("Escape")
    expect(page.locator("dialog")).to_be_hidden()
    page.keyboard.press("?")
    page.keyboard.press("/")
    expect(page.locator("dialog")).to_be_hidden()
    expect(page.locator("input[type=search]")).not_to_be_focused()
    page.locator("#help").click()
    expect(page.locator("dialog")).to_be_visible()


def test_buttons_go_through_the_hits_both_ways(page: Page) -> None:
    expect(page.locator("#back")).to_be_hidden()
    page.locator("input[type=search]").fill("the")
    page.locator("#back").click()
    count = page.locator(".hit").count()
    expect(page.locator("#say")).to_have_text(f"{count} of {count}")
    page.locator("#on").click()
    expect(page.locator("#say")).to_have_text(f"1 of {count}")


def test_focus_within_the_bar_does_not_move_the_text(browser: Browser, tmp_path: Path) -> None:
    page = opened(browser, tmp_path, conversation(), height=300)
    page.locator("input[type=search]").fill("the")
    page.locator("#back").click()
    before = page.locator(".found").bounding_box()["y"]
    page.locator("#on").focus()
    page.keyboard.press("Shift+Tab")
    expect(page.locator("#back")).to_be_focused()
    page.wait_for_timeout(300)
    assert page.locator(".found").bounding_box()["y"] == before
    page.close()


def test_a_key_and_a_button_go_to_what_is_doubtful_and_say_why(browser: Browser, tmp_path: Path) -> None:
    first, second, *others = conversation().segments
    unheard = replace(first, words=(*first.words[:2], replace(first.words[2], score=0.05), *first.words[3:]))
    doubted = replace(second, suspect=("unlikely",))
    page = opened(browser, tmp_path, replace(conversation(), segments=(unheard, doubted, *others)))
    page.keyboard.press("d")
    expect(page.locator("main .low")).to_be_focused()
    expect(page.locator("#say")).to_have_text("1 of 2: hardly heard: it may be another word")
    page.keyboard.press("d")
    expect(page.locator("main .doubt [data-t]").first).to_be_focused()
    expect(page.locator("#say")).to_have_text("2 of 2: the recognizer itself was not sure")
    page.keyboard.press("Shift+D")
    expect(page.locator("main .low")).to_be_focused()
    page.locator("#doubts").click()
    expect(page.locator("#say")).to_contain_text("2 of 2")
    # The reason stands on the page, and not in the text that is searched or copied.
    shown = page.evaluate("getComputedStyle(document.querySelector('.doubt'), '::before').content")
    assert "the recognizer itself was not sure" in shown
    page.locator("input[type=search]").fill("recognizer")
    expect(page.locator("#say")).to_have_text("0 found")
    page.close()


def test_a_recording_that_is_not_beside_the_page_is_asked_for(browser: Browser, tmp_path: Path) -> None:
    page = opened(browser, tmp_path, conversation(), audio_name="conversation.mp3")
    expect(page.locator("#missing")).to_have_text(
        "conversation.mp3 is not beside this page: choose it to listen along."
    )
    expect(page.locator("#pick input")).to_be_focused()
    expect(page.locator("audio")).to_be_hidden()
    page.locator("main p span").nth(8).click()
    expect(page.locator("#say")).to_contain_text("choose it to listen along")
    expect(page.locator("#pick input")).to_be_focused()
    page.locator("#pick input").set_input_files(SAMPLES / "conversation.json")
    expect(page.locator("#missing")).to_have_text("This file cannot be played: choose the recording.")
    page.locator("#pick input").set_input_files(SAMPLES / "conversation.mp3")
    eventually(page, "audio.readyState >= 1")
    expect(page.locator("audio")).to_be_visible()
    expect(page.locator("#missing")).to_be_empty()
    page.close()


def test_without_a_recording_space_and_arrows_scroll(browser: Browser, tmp_path: Path) -> None:
    page = opened(browser, tmp_path, conversation(), width=390, height=300)
    for key in ("ArrowDown", "Space"):
        before = page.evaluate("scrollY")
        page.keyboard.press(key)
        eventually(page, f"scrollY > {before}")
    page.close()


def test_on_a_phone_the_bar_is_one_row_until_there_is_a_recording(browser: Browser, tmp_path: Path) -> None:
    first, *others = conversation().segments
    doubted = replace(conversation(), segments=(replace(first, suspect=("cut",)), *others))
    page = opened(browser, tmp_path, doubted, width=390, height=844, audio_name="absent.mp3")
    expect(page.locator("#missing")).not_to_be_empty()
    assert page.locator("#bar").bounding_box()["height"] < 60
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.close()


def test_all_that_is_shown_stands_in_a_landmark(page: Page) -> None:
    marks = page.evaluate("[...document.body.children].map(e => e.getAttribute('role') || e.localName)")
    assert marks == ["header", "region", "main", "dialog", "script"]


def test_search_finds_phrases_across_words_and_counts_them(page: Page) -> None:
    first = conversation().segments[0].text.split()
    search = page.locator("input[type=search]")
    search.fill(" ".join(first[1:3]).upper())
    text = page.locator("main").inner_text().lower()
    expect(page.locator("#say")).to_have_text(f"{text.count(' '.join(first[1:3]).lower())} found")
    search.press("Enter")
    expect(page.locator(".found").first).to_have_text(first[1])
    expect(page.locator("#say")).to_contain_text("1 of")
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

"""Stock captions: what Whisper writes for noise is known in many languages, and what people say is left alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scribe.engines.hallucination import SHORT_S, Decoded, Limits, boilerplate, doubts
from scribe.engines.known_captions import EVERYDAY, FAREWELLS, kind
from scribe.engines.missed_speech import APART_S, apart
from scribe.transcript import Chunk

# What finding 13 heard of large-v3 in half a second to a second and a half of "speech".
INVENTED = [
    ("Thank you.", "en", "everyday"),
    ("Thanks for watching!", "en", "farewell"),
    ("Untertitel der Amara.org-Community", "de", "credit"),
    ("Sous-titres réalisés para la communauté d'Amara.org", "fr", "credit"),
    ("ご視聴ありがとうございました", "ja", "farewell"),
    ("Продолжение следует...", "ru", "farewell"),
    ("MBC 뉴스 이덕영입니다.", "ko", "farewell"),
]


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        *INVENTED,
        ("THANK YOU FOR WATCHING!!", "en", "farewell"),
        ("Thank you. Thank you. Thank you.", "en", "everyday"),
        ("Thanks for watching! Bye-bye.", "en", "farewell"),
        ("Untertitelung im Auftrag des ZDF für funk, 2017", "de", "credit"),
        ("Vielen Dank.", "de", "everyday"),
        ("Thank you.", "de", "everyday"),
        ("❤️ par SousTitreur.com", "fr", "credit"),
        ("Sous-titrage Société Radio-Canada", "fr", "credit"),
        ("Sottotitoli e revisione a cura di QTSS", "it", "credit"),
        ("Subtítulos realizados por la comunidad de Amara.org", "es", "credit"),
        ("¡Gracias por ver el video!", "es", "farewell"),
        ("Obrigada por assistir!", "pt", "farewell"),
        ("Ondertitels ingediend door de Amara.org gemeenschap", "nl", "credit"),
        ("Tekstet av Nicolai Winther", "no", "credit"),
        ("Svensktextning.nu", "sv", "credit"),
        ("Kiitos kun katsoit!", "fi", "farewell"),
        ("Zdjęcia i napisy stworzone przez społeczność Amara.org", "pl", "credit"),
        ("Titulky vytvořil JohnyX.", "cs", "credit"),
        ("Köszönöm, hogy megnézted!", "hu", "farewell"),
        ("Nu uitaţi să vă abonaţi!", "ro", "farewell"),
        ("ΕΥΧΑΡΙΣΤΩ ΠΟΥ ΠΑΡΑΚΟΛΟΥΘΗΣΑΤΕ", "el", "farewell"),
        ("Υπότιτλοι AUTHORWAVE", "el", "credit"),
        ("Altyazı M.K.", "tr", "credit"),
        ("İZLEDİĞİNİZ İÇİN TEŞEKKÜRLER", "tr", "farewell"),
        ("Субтитры сделал DimaTorzok", "ru", "credit"),
        ("Дякую за перегляд!", "uk", "farewell"),
        ("ترجمة نانسي قنقر", "ar", "credit"),
        ("اشتركوا في القناة", "ar", "farewell"),
        ("תודה רבה.", "he", "everyday"),
        ("देखने के लिए धन्यवाद।", "hi", "farewell"),
        ("ขอบคุณที่รับชม", "th", "farewell"),
        ("Hãy subscribe cho kênh Ghiền Mì Gõ Để không bỏ lỡ những video hấp dẫn", "vi", "credit"),
        ("Terima kasih telah menonton.", "id", "farewell"),
        ("字幕由Amara.org社区提供", "zh", "credit"),
        ("请不吝点赞 订阅 转发 打赏支持明镜与点点栏目", "zh", "credit"),
        ("谢谢观看 下集再见", "zh", "farewell"),
        ("시청해주셔서 감사합니다!", "ko", "farewell"),
        ("시청해 주셔서 감사합니다.", "ko", "farewell"),
    ],
)
def test_a_stock_caption_is_known_whatever_its_spelling(text: str, language: str, expected: str) -> None:
    assert kind(text, language) == expected


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("", "en"),
        (" ... ♪", "en"),
        ("Yes.", "en"),
        ("Okay.", "en"),
        ("Thank you, Mark. The tickets are at the door.", "en"),
        ("Thank you. Bye.", "en"),
        ("Thank you for joining us today.", "en"),
        ("In the end we took the bus.", "en"),
        ("The endpoint", "en"),
        ("It was translated by my sister.", "en"),
        ("Danke, wir haben die Untertitel schon bestellt.", "de"),
        ("Danke.", "fr"),
        ("Merci, à demain.", "fr"),
        ("谢谢你昨天帮我搬家", "zh"),
        ("Спасибо, до завтра.", "ru"),
        ("The people of amara.org made subtitles for all of our lectures, and that was a great help to us.", "en"),
    ],
)
def test_what_people_say_is_none(text: str, language: str) -> None:
    assert kind(text, language) is None


def test_a_credit_that_begins_a_sentence_is_doubted_only_on_weak_evidence() -> None:
    said = "Translated by my brother, so I trust it."
    assert kind(said, "en") == "sayable credit"
    assert not boilerplate(said, "en", weak=False)
    assert boilerplate(said, "en", weak=True)
    assert boilerplate("Subtitles by the Amara.org community", "en", weak=False)


@pytest.mark.parametrize("phrase", [p.strip() for line in FAREWELLS.splitlines() for p in line.split("|") if p.strip()])
def test_every_farewell_of_the_table_is_found_and_stands_there_once(phrase: str) -> None:
    assert kind(f"  {phrase.upper()}! ") in ("farewell", "credit")
    assert FAREWELLS.replace("\n", "|").split("|").count(f" {phrase} ") <= 1


@pytest.mark.parametrize("language", EVERYDAY)
def test_everyday_words_are_those_of_their_language(language: str) -> None:
    for word in EVERYDAY[language].split("|"):
        assert kind(word, language) == "everyday"


@given(st.text())
def test_any_text_has_a_kind_or_none(text: str) -> None:
    assert kind(text, "tr") in ("credit", "farewell", "everyday", None)


@pytest.mark.parametrize(("text", "language", "_"), INVENTED)
@pytest.mark.parametrize("voiced_s", [0.5, 1.0, 1.6])
def test_inventions_of_a_short_chunk_that_stands_apart_are_marked(
    text: str, language: str, _: str, voiced_s: float
) -> None:
    assert "boilerplate" in doubts(Decoded(text, -0.35, 0.1), voiced_s, Limits(), True, language)


@pytest.mark.parametrize(
    ("text", "voiced_s", "stands_apart", "found", "expected"),
    [
        # Said to somebody: there is other speech right before, or there is more of it.
        ("Thank you.", 0.8, False, {}, ()),
        ("Thanks for watching!", 2.4, True, {}, ()),
        ("Yes.", 0.5, True, {}, ()),
        # A bar of music, and a recognizer that is not sure itself.
        ("Thank you.", 14.0, False, {}, ("boilerplate",)),
        ("Thank you.", 0.8, False, {"avg_logprob": -1.2}, ("unlikely", "boilerplate")),
        # Written, never said.
        ("Untertitel im Auftrag des ZDF, 2021", 4.0, False, {}, ("boilerplate",)),
        # Whisper's own word for silence counts alone where no other speech is near.
        ("Yes.", 0.5, True, {"no_speech_prob": 0.9}, ("no_speech",)),
        ("Thank you.", 0.5, True, {"no_speech_prob": 0.9}, ("boilerplate", "no_speech")),
        ("Yes.", 0.5, False, {"no_speech_prob": 0.9}, ()),
        ("Yes, we are going there.", SHORT_S, True, {"no_speech_prob": 0.9}, ()),
    ],
)
def test_what_speaks_for_a_text_decides(
    text: str, voiced_s: float, stands_apart: bool, found: dict[str, float], expected: tuple[str, ...]
) -> None:
    decoded = Decoded(text, **{"avg_logprob": -0.3, "no_speech_prob": 0.1} | found)
    assert doubts(decoded, voiced_s, Limits(), stands_apart, "en") == expected


def chunk(start: float, end: float) -> Chunk:
    return Chunk(start, end, ((start, end),))


def test_a_chunk_stands_apart_when_no_channel_has_another_near_it() -> None:
    near = APART_S - 0.1
    first, second, last = chunk(5, 6), chunk(20, 21), chunk(50, 51)
    other = chunk(21 + near, 30)
    alone, crossed = apart([[first, second, last], [other]])
    assert [c.apart for c in alone] == [True, False, True]
    assert [c.apart for c in crossed] == [False]
    assert [c.apart for c in apart([[first, second, last]])[0]] == [True, True, True]
    assert [c.apart for c in apart([[chunk(0, 30), chunk(30, 31)]])[0]] == [False, False]
    assert [c.apart for part in apart([[chunk(3, 4)], [chunk(3, 4)]]) for c in part] == [False, False]
    assert [c.apart for part in apart([[chunk(0, 60)], [chunk(9, 10)]]) for c in part] == [False, False]
    assert apart([[], []]) == [[], []]

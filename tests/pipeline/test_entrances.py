"""What reaches CTranslate2's door, the detectors' and pyannote's is what the job asked for, and `debug` tells exactly that.

The models are the real ones; a `Recording...` object stands before each door, writes down what it is given and passes it on.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from support.demo import ADDRESS, before_decoding, models, predicted, recording, sound, voice

from scribe.audio.decode import Audio
from scribe.diarization.diarizer import MOST_SPEAKERS
from scribe.engines.base import GROUP_BATCHES, TranscriptionRequest
from scribe.engines.batched import BatchedEngine
from scribe.engines.faster_whisper import WhisperEngine
from scribe.errors import DeadlineReached, InvalidInput, StageFailed
from scribe.models.loader import Models
from scribe.pipeline.predictor import Predictor
from scribe.pipeline.recognition import speech_detection, speech_options
from scribe.schema.parsing import parse
from scribe.speakers.ecapa import VoiceSample
from scribe.transcript import Segment

PLAIN = {"language": "en", "quality": "fast", "chunk_size": 4}
NAMING = {"speaker_verification": True, "speaker_samples": [{"url": ADDRESS}]}
ROOM = 448  # tokens in Whisper's window


class RecordingWhisper:
    """Before a ctranslate2 Whisper: `generated` and `heard` hold the calls of generate and detect_language."""

    def __init__(self, real: Any, multilingual: bool = True) -> None:
        self._real = real
        self.is_multilingual = multilingual
        self.generated: list[tuple[list[list[int]], dict[str, Any]]] = []
        self.heard: list[np.ndarray] = []
        self.encoded: list[np.ndarray] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def encode(self, features: Any, **more: Any) -> Any:
        self.encoded.append(np.array(features))
        return self._real.encode(features, **more)

    def generate(self, encoded: Any, prompts: list[list[int]], **options: Any) -> Any:
        self.generated.append((prompts, options))
        return self._real.generate(encoded, prompts, **options)

    def detect_language(self, encoded: Any) -> Any:
        self.heard.append(self.encoded[-1])
        return self._real.detect_language(encoded)


class RecordingPipeline:
    """Before pyannote's pipeline or a detector: `given` holds the keywords of every call."""

    def __init__(self, real: Any) -> None:
        self._real = real
        self.given: list[dict[str, Any]] = []

    def __call__(self, *args: Any, **options: Any) -> Any:
        self.given.append(inspect.signature(self._real).bind(*args, **options).arguments | options)
        return self._real(*args, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


def engine() -> WhisperEngine:
    return models().engine(models().model_set.speech())


@pytest.fixture(scope="module")
def clip() -> Audio:
    """Five sentences of one voice, thirteen seconds."""
    return recording("voices/anna.flac")[0]


@pytest.fixture
def whisper(monkeypatch: pytest.MonkeyPatch) -> RecordingWhisper:
    model = engine()._model
    door = RecordingWhisper(model.model)
    monkeypatch.setattr(model, "model", door)
    return door


@pytest.fixture
def pyannote(monkeypatch: pytest.MonkeyPatch) -> RecordingPipeline:
    diarizer = models().diarizer()
    door = RecordingPipeline(diarizer._pipeline)
    monkeypatch.setattr(diarizer, "_pipeline", door)
    return door


def detector_door(monkeypatch: pytest.MonkeyPatch, method: str) -> RecordingPipeline:
    detector = models().detector(method)
    door = RecordingPipeline(detector.chunks)
    monkeypatch.setattr(detector, "chunks", door)
    return door


def tokens(text: str) -> list[int]:
    return engine()._model.hf_tokenizer.encode(" " + text, add_special_tokens=False).ids


def token(name: str) -> int:
    return engine()._model.hf_tokenizer.token_to_id(f"<|{name}|>")


def test_every_chunk_is_decoded_with_the_jobs_own_search(clip: Audio, whisper: RecordingWhisper) -> None:
    search = {
        "beam_size": 3,
        "patience": 1.5,
        "length_penalty": 0.7,
        "repetition_penalty": 1.2,
        "no_repeat_ngram_size": 4,
    }
    found = predicted([clip], {"language": "en", "chunk_size": 4, "batch_size": 2, **search})
    assert len(whisper.generated) > 1
    for prompts, options in whisper.generated:
        assert {name: options[name] for name in search} == search
        assert len(prompts) <= 2
        assert options["suppress_tokens"] == [-1]
    assert {name: found.options_used[name] for name in search} == search
    assert found.options_used["batch_size"] == max(len(prompts) for prompts, _ in whisper.generated) == 2


@pytest.mark.parametrize(("quality", "beam"), [("fast", 1), ("balanced", 5)])
def test_quality_is_a_beam_at_the_door(clip: Audio, whisper: RecordingWhisper, quality: str, beam: int) -> None:
    found = predicted([clip], {"language": "en", "quality": quality})
    assert {options["beam_size"] for _, options in whisper.generated} == {beam} == {found.options_used["beam_size"]}


def test_prompt_and_hotwords_precede_every_chunk_and_not_only_the_first(clip: Audio, whisper: RecordingWhisper) -> None:
    texts = {"initial_prompt": "The camera is grey.", "hotwords": "Wednesday Julia"}
    # The demo model does not know what to do with a prompt: a second look, which has none, is not asked for here.
    found = predicted([clip], {**PLAIN, **texts, "log_prob_threshold": -10, "compression_ratio_threshold": 10})
    prompts = [prompt for several, _ in whisper.generated for prompt in several]
    before = [token("startofprev"), *tokens(texts["hotwords"]), *tokens(texts["initial_prompt"])]
    first = [prompt[: len(before)] == before for prompt in prompts]
    assert first == sorted(first, reverse=True), "only what got no text is heard again, without them"
    assert sum(first) > 2
    assert {name: found.options_used[name] for name in texts} == texts
    assert found.warnings == []


def test_without_a_prompt_nothing_of_an_earlier_job_precedes_a_chunk(clip: Audio, whisper: RecordingWhisper) -> None:
    predicted([clip], {**PLAIN, "initial_prompt": "a secret of the first customer"})
    whisper.generated.clear()
    predicted([clip], PLAIN)
    assert all(prompt[0] == token("startoftranscript") for several, _ in whisper.generated for prompt in several)


@pytest.mark.parametrize(("language", "task"), [("en", "transcribe"), ("de", "transcribe"), ("de", "translate")])
def test_language_and_task_are_tokens_of_every_prompt(
    clip: Audio, whisper: RecordingWhisper, language: str, task: str
) -> None:
    found = predicted([clip], {**PLAIN, "language": language, "task": task})
    start = [token("startoftranscript"), token(language), token(task), token("notimestamps")]
    assert {tuple(prompt) for several, _ in whisper.generated for prompt in several} == {tuple(start)}
    assert (found.options_used["language"], found.options_used["task"]) == (language, task)


def test_numerals_are_suppressed_by_their_tokens(clip: Audio, whisper: RecordingWhisper) -> None:
    found = predicted([clip], {**PLAIN, "suppress_numerals": True})
    tokenizer = engine()._model.hf_tokenizer
    signs = set("0123456789%$£")
    texts = range(tokenizer.token_to_id("<|endoftext|>"))
    numerals = {i for i in texts if signs & set(tokenizer.decode([i]))}
    assert numerals
    for _, options in whisper.generated:
        assert set(options["suppress_tokens"]) == numerals | {-1}
    assert found.options_used["suppress_numerals"] is True


@pytest.mark.parametrize(
    "texts",
    [
        {"initial_prompt": "жщ " * 333},
        {"hotwords": "жщ " * 333},
        {"initial_prompt": "жщ " * 333, "hotwords": "the camera"},
        {"initial_prompt": "жщ " * 333, "hotwords": "щж " * 333},
    ],
)
def test_a_prompt_too_long_for_the_window_is_cut_and_told_and_leaves_half_of_it_to_the_text(
    clip: Audio, whisper: RecordingWhisper, texts: dict[str, str]
) -> None:
    found = predicted([clip], {**PLAIN, **texts})
    assert whisper.generated
    assert all(len(prompt) <= ROOM // 2 + 8 for several, _ in whisper.generated for prompt in several)
    cut = {name for name, text in texts.items() if found.options_used[name] != text}
    assert {n.message.split()[0] for n in found.warnings if n.code == "option_reduced"} == cut
    assert "initial_prompt" in cut or "initial_prompt" not in texts
    assert all(found.options_used[name] for name in texts), "of each something is left"


def test_an_english_only_model_says_that_it_takes_neither_language_nor_translation(
    clip: Audio, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = engine()._model
    door = RecordingWhisper(model.model, multilingual=False)
    monkeypatch.setattr(model, "model", door)
    found = predicted([clip], {**PLAIN, "language": "de", "task": "translate"})
    told = [n.message.split()[0] for n in found.warnings if n.code == "option_ignored"]
    assert told == ["language", "task"]
    assert (found.transcript.language, found.options_used["task"]) == ("en", "transcribe")
    prompts = {tuple(p) for several, _ in door.generated for p in several}
    assert all(token("de") not in p and token("translate") not in p for p in prompts)
    assert predicted([clip], PLAIN).warnings == []


class OlderTokenizer:
    """Whisper's before version 3, which has no Cantonese, over the demo model's."""

    def __init__(self, real: Any) -> None:
        self._real = real

    def token_to_id(self, text: str) -> int | None:
        return None if text == "<|yue|>" else self._real.token_to_id(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


def test_a_language_that_the_model_does_not_know_is_refused_and_another_one_is_not(
    clip: Audio, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert predicted([clip], {**PLAIN, "language": "yue"}).transcript.language == "yue"
    model = engine()._model
    monkeypatch.setattr(model, "hf_tokenizer", OlderTokenizer(model.hf_tokenizer))
    with pytest.raises(InvalidInput, match="language: 'yue' is not among this model's languages"):
        predicted([clip], {**PLAIN, "language": "yue"})
    assert predicted([clip], PLAIN).transcript.segments


@pytest.mark.parametrize("method", ["silero", "pyannote"])
def test_the_detector_gets_the_jobs_values_and_every_chunk_keeps_to_its_size(
    clip: Audio, whisper: RecordingWhisper, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    door = detector_door(monkeypatch, method)
    asked = {"vad_method": method, "vad_onset": 0.6, "vad_offset": 0.3, "chunk_size": 6}
    found = predicted([clip], {"language": "en", "quality": "fast", **asked})
    (given,) = door.given
    assert (given["onset"], given["offset"], given["chunk_size"]) == (0.6, 0.3, 6)
    assert {name: found.options_used[name] for name in asked} == asked
    assert len(found.transcript.segments) > 1
    assert all(s.end - s.start <= 6.1 for s in found.transcript.segments)


def test_speech_cannot_end_above_the_probability_at_which_it_begins(
    clip: Audio, monkeypatch: pytest.MonkeyPatch
) -> None:
    door = detector_door(monkeypatch, "silero")
    found = predicted([clip], {**PLAIN, "vad_onset": 0.4, "vad_offset": 0.8})
    assert door.given[0]["offset"] == found.options_used["vad_offset"] == 0.4
    assert [n.code for n in found.warnings] == ["option_reduced"]
    quiet = predicted([clip], {**PLAIN, "vad_onset": 0.2})
    assert (quiet.options_used["vad_offset"], quiet.warnings) == (0.2, [])


@pytest.mark.parametrize(
    "counts",
    [{}, {"num_speakers": 1}, {"min_speakers": 1, "max_speakers": 3}, {"max_speakers": 1}],
)
def test_pyannote_gets_the_jobs_number_of_speakers(
    clip: Audio, pyannote: RecordingPipeline, counts: dict[str, int]
) -> None:
    found = predicted([clip], {**PLAIN, "diarization": True, **counts})
    names = ("num_speakers", "min_speakers", "max_speakers")
    (given,) = pyannote.given
    asked = {name: counts.get(name) for name in names}
    assert {name: found.options_used[name] for name in names} == asked
    # A job that names no number is bounded where pyannote's own numbering ends.
    bounded = asked if counts.get("num_speakers") else asked | {"max_speakers": asked["max_speakers"] or MOST_SPEAKERS}
    assert {name: given[name] for name in names} == bounded


@pytest.mark.parametrize(
    ("limits", "wanted"),
    [
        ({"num_speakers": 50}, "50 speakers"),
        ({"min_speakers": 50}, "at least 50 speakers"),
        ({"min_speakers": 49, "max_speakers": 50}, "at least 49, at most 50 speakers"),
    ],
)
def test_more_speakers_than_can_be_told_apart_are_a_warning_and_no_failure(
    clip: Audio, limits: dict[str, int], wanted: str
) -> None:
    found = predicted([clip], {**PLAIN, "diarization": True, **limits})
    count = len(found.transcript.speakers)
    assert 1 <= count < 49
    told = [n.message for n in found.warnings if n.stage == "diarize"]
    assert told == [f"{wanted} were asked for and {count} could be told apart"]


def test_the_language_is_heard_on_the_first_chunks_of_speech_and_the_model_is_loaded_once(
    whisper: RecordingWhisper, monkeypatch: pytest.MonkeyPatch
) -> None:
    from whisperx.audio import N_SAMPLES, log_mel_spectrogram

    loads = []
    monkeypatch.setattr(BatchedEngine, "__init__", lambda *a, **k: loads.append(a))
    clip = recording("voices/anna.flac")[0][:]
    noise = np.random.default_rng(1).normal(0, 0.003, 12 * 16000).astype(np.float32)
    late = sound("late-speech", np.concatenate([noise, clip]))
    found = predicted([late], {"quality": "fast", "chunk_size": 4, "language_detection_max_tries": 2})
    assert loads == []
    assert len(whisper.heard) == 2
    chunks = models().detector("silero").chunks(late, 0.5, 0.363, 4)
    assert chunks[0].start > 11
    for features, chunk in zip(whisper.heard, chunks, strict=False):
        window = late.window(chunk.start, chunk.end)
        wanted = log_mel_spectrogram(window, n_mels=80, padding=N_SAMPLES - len(window)).numpy()
        assert features.squeeze().shape == wanted.shape
        assert np.allclose(features.squeeze(), wanted, atol=1e-3)
    assert found.transcript.language == "en"
    assert 0 < (found.transcript.language_probability or 0) <= 1
    assert found.options_used["language_detection_max_tries"] == 2


@pytest.mark.parametrize(
    ("options", "windows"),
    [({"language_detection_min_prob": 0.001}, 1), ({"language_detection_max_tries": 3}, 3), ({}, 5)],
)
def test_listening_stops_at_the_probability_that_suffices_or_at_the_last_chunk(
    clip: Audio, whisper: RecordingWhisper, options: dict[str, Any], windows: int
) -> None:
    chunks = models().detector("silero").chunks(clip, 0.5, 0.363, 5)
    predicted([clip], {"quality": "fast", "chunk_size": 5, **options})
    assert len(whisper.heard) == min(windows, len(chunks))


def test_a_language_that_is_given_is_not_listened_for(clip: Audio, whisper: RecordingWhisper) -> None:
    found = predicted([clip], PLAIN)
    assert whisper.heard == []
    assert found.transcript.language_probability is None
    assert "language_detection_max_tries" not in found.options_used


def test_debug_tells_the_effective_options_and_no_others(clip: Audio) -> None:
    asked = {**PLAIN, **NAMING, "speaker_threshold": 0.3, "speaker_margin": 0.2, "num_speakers": 1}
    found = predicted([clip], asked, [voice("Anna"), voice("Mark")])
    job = parse({"audio_file": ADDRESS, **asked}).options
    recognition = {
        field: getattr(thing, field)
        for thing in (speech_detection(job, models()), speech_options(job, models().model_set, engine().batch_size))
        for field in thing.__slots__
    }
    scores = found.options_used["speaker_scores"]
    assert found.options_used == recognition | {
        "model": models().model_set.speech().name,
        "device": "cpu",
        "compute_type": "int8",
        "language": "en",
        "interpolate_method": "nearest",
        "return_char_alignments": False,
        "num_speakers": 1,
        "min_speakers": None,
        "max_speakers": None,
        "speaker_threshold": 0.3,
        "speaker_margin": 0.2,
        "speaker_calibrated": False,
        "speaker_scores": scores,
    }
    (speaker,) = found.transcript.speakers
    assert set(scores) == {speaker.label}
    assert set(scores[speaker.label]) == {"Anna", "Mark"}
    assert speaker.score == scores[speaker.label]["Anna"]


def test_the_jobs_margin_wins_over_the_models(clip: Audio) -> None:
    found = predicted(
        [clip], {**PLAIN, **NAMING, "num_speakers": 1, "speaker_margin": 2}, [voice("Anna"), voice("Mark")]
    )
    (speaker,) = found.transcript.speakers
    assert (speaker.name, speaker.reason) == (None, "two enrolled voices are equally close")


def test_without_one_usable_sample_that_is_the_reason(clip: Audio) -> None:
    silent = VoiceSample("Ghost", recording("silence.flac")[0])
    found = predicted([clip], {**PLAIN, **NAMING, "num_speakers": 1}, [silent])
    (speaker,) = found.transcript.speakers
    assert (speaker.name, speaker.score, speaker.reason) == (None, None, "there is no usable voice sample")
    assert "sample_without_speech" in [n.code for n in found.warnings]


@pytest.mark.parametrize(
    ("model", "size", "why"), [("another@1", 192, "another speaker model"), (None, 8, "dimension")]
)
def test_one_embedding_that_cannot_be_compared_costs_no_other_name(
    clip: Audio, model: str | None, size: int, why: str
) -> None:
    old = VoiceSample("Nina", None, (1.0,) * size, model or models().encoder().identity)
    options = {**PLAIN, **NAMING, "num_speakers": 1}
    found = predicted([clip], options, [old, voice("Anna")])
    assert [s.name for s in found.transcript.speakers] == ["Anna"]
    ((code, message),) = [(n.code, n.message) for n in found.warnings if n.stage == "name"]
    assert code == "sample_unusable"
    assert why in message
    with pytest.raises(StageFailed, match="Nina"):
        predicted([clip], {**options, "strict": True}, [old, voice("Anna")])


def test_channels_are_labelled_named_cleaned_and_merged_in_time_order() -> None:
    both = recording("call.flac", split=True)
    options = {**PLAIN, "channels": "split", "channel_names": [" An\u0000na ", "", "Third"]}
    found = predicted(both, options)
    assert [(s.label, s.name) for s in found.transcript.speakers] == [("CHANNEL_1", "An na"), ("CHANNEL_2", None)]
    starts = [s.start for s in found.transcript.segments]
    assert starts == sorted(starts)
    assert {s.label for s in found.transcript.segments} == {"CHANNEL_1", "CHANNEL_2"}
    assert [n.code for n in found.warnings] == ["option_ignored"]
    assert "3 names, and 2 is the recording's number of channels" in found.warnings[0].message


def test_with_a_deadline_every_batch_counts(clip: Audio, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without one a group of batches is sorted by its chunks' length, and a stop loses all of the group."""
    groups: list[int] = []
    real = BatchedEngine._recognized

    def counted(self: BatchedEngine, request: TranscriptionRequest, *more: Any) -> list[Segment]:
        groups.append(len(request.chunks))
        return real(self, request, *more)

    monkeypatch.setattr(BatchedEngine, "_recognized", counted)
    options = {"language": "en", "quality": "fast", "chunk_size": 2, "batch_size": 2, "log_prob_threshold": -10}
    whole = [s.text for s in predicted([clip], options).transcript.segments]
    assert max(groups) > 2
    groups.clear()
    assert [s.text for s in predicted([clip], options | {"deadline_s": 3600}).transcript.segments] == whole
    assert max(groups) == 2


def test_a_deadline_in_the_middle_of_recognition_keeps_the_batches_before_it(clip: Audio) -> None:
    options = {"language": "en", "quality": "fast", "chunk_size": 2, "batch_size": 1}
    # A sentence cut in two is doubted, and what a second look finds is sampled: another text every time.
    options["log_prob_threshold"] = -10
    whole = [s.text for s in predicted([clip], options).transcript.segments]
    assert len(whole) > 4
    seen: list[int] = []

    def check_until(most: float) -> Callable[[], None]:
        def check() -> None:
            seen.append(1)
            if len(seen) > most:
                raise DeadlineReached("deadline_s: 1 seconds have passed")

        return check

    predicted([clip], options, check=check_until(math.inf))
    last = len(seen)
    seen.clear()
    found = predicted([clip], options, check=check_until(last - 1))
    kept = len(found.transcript.segments)
    assert found.partial
    assert 0 < kept < len(whole)
    assert kept % GROUP_BATCHES == 0
    assert [s.text for s in found.transcript.segments] == whole[:kept]
    assert [(n.code, n.stage) for n in found.warnings] == [("deadline_reached", "transcribe")]


def test_a_batch_that_did_not_fit_is_not_tried_again_by_the_next_job(
    clip: Audio, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = Models(models().model_set, "cpu")
    own._cache = models()._cache
    sizes: list[int] = []

    def above_one(real: Callable[..., Any], features: Any, prompts: Any, **more: Any) -> Any:
        sizes.append(len(prompts))
        if len(prompts) > 1:
            raise RuntimeError("CUDA failed with error out of memory")
        return real(features, prompts, **more)

    monkeypatch.setattr(own._cache, "drop_idle", lambda idle: False)
    before_decoding(monkeypatch, engine(), above_one)
    options = {"language": "en", "quality": "fast", "chunk_size": 2, "batch_size": 2, "log_prob_threshold": -10}
    for largest in (2, 1):
        sizes.clear()
        found = predicted([clip], options, by=Predictor(own))
        assert max(sizes) == largest
        assert [n.message for n in found.warnings if n.code == "batch_reduced"] == [
            "batches of 2 did not fit into memory; 1 did"
        ]

"""Diarization: pyannote's turns as they are, the exclusive ones too, whole and inside the recording."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from lab.scores import score
from support.demo import configured, excerpt, models, recording, truth

from scribe.audio.decode import Audio
from scribe.diarization import diarizer
from scribe.diarization.assignment import SpeakerTimeline
from scribe.diarization.diarizer import BATCHES, Diarization, Diarizer, comfortable_batches
from scribe.diarization.embeddings import limit_to_voices
from scribe.errors import Cancelled
from scribe.models.loader import Models
from scribe.models.model_set import ModelSet
from scribe.nn.sliding_window import network_of, window_count
from scribe.runtime.monitor import Monitor


@pytest.fixture(scope="module")
def clip() -> Audio:
    return excerpt("diarizer-clip", recording("conversation.mp3")[0], 0.0, 30.0)


@pytest.fixture(scope="module")
def shares() -> list[float]:
    return []


@pytest.fixture(scope="module")
def found(clip: Audio, shares: list[float]) -> Diarization:
    return models().diarizer().diarize(clip, Monitor(report=shares.append))


def test_two_who_talk_are_two_labels(found: Diarization) -> None:
    assert {t.label for t in found.turns} == {"SPEAKER_00", "SPEAKER_01"}


def test_turns_are_in_order_and_inside_the_recording(found: Diarization, clip: Audio) -> None:
    for turns in (found.turns, found.exclusive):
        assert list(turns) == sorted(turns, key=lambda t: t.start)
        assert all(0 <= t.start < t.end <= round(clip.seconds, 3) for t in turns)


def test_exclusive_turns_never_overlap(found: Diarization) -> None:
    assert all(a.end <= b.start + 1e-6 for a, b in itertools.pairwise(found.exclusive))


def test_the_turns_are_those_of_the_speakers(found: Diarization) -> None:
    find = SpeakerTimeline(found.exclusive).label
    pairs = [(t["speaker"], find(t["start"], t["end"])) for t in truth("conversation")["turns"] if t["end"] < 30]
    best = max(
        sum(label == who[name] for name, label in pairs)
        for who in ({"Anna": "SPEAKER_00", "Mark": "SPEAKER_01"}, {"Anna": "SPEAKER_01", "Mark": "SPEAKER_00"})
    )
    assert best >= 0.9 * len(pairs)


def test_progress_grows_from_0_to_1(found: Diarization, shares: list[float]) -> None:
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1.0)
    assert all(0 <= f <= 1 for f in shares)


def test_one_speaker_when_one_is_asked_for(clip: Audio) -> None:
    found = models().diarizer().diarize(clip, num_speakers=1)
    assert len({t.label for t in found.turns}) == 1


@pytest.mark.parametrize("limits", [{"num_speakers": 50}, {"min_speakers": 50}])
def test_more_speakers_than_there_are_pieces_of_voice_are_as_many_as_can_be_told_apart(
    clip: Audio, limits: dict[str, int]
) -> None:
    few = excerpt("diarizer-few", clip, 0.0, 12.0)
    found = models().diarizer().diarize(few, **limits)
    assert 2 <= len({t.label for t in found.turns}) < 50


def test_a_sound_that_repeats_itself_exactly_is_not_split_into_more_voices_than_it_has() -> None:
    rng = np.random.default_rng(3)
    voices = np.repeat(rng.normal(size=(3, 1, 256)), 5, axis=1)
    given: list[dict[str, Any]] = []

    class Stock(SimpleNamespace):
        def __call__(self, embeddings: Any, segmentations: Any = None, **options: Any) -> None:
            given.append(options)

    clustering = Stock(filter_embeddings=lambda all_of_them, segmentations: (all_of_them.reshape(-1, 256), None, None))
    limit_to_voices(clustering)
    clustering(voices, num_clusters=9, min_clusters=9, max_clusters=9)
    clustering(voices, num_clusters=None, min_clusters=1, max_clusters=np.inf)
    assert [(o["num_clusters"], o["min_clusters"]) for o in given] == [(3, 3), (None, 1)]


def test_silence_has_no_turns() -> None:
    # The demo's network answers digital silence with a voice here and there: a job's diarizer gets what the detector heard.
    silence = recording("silence.flac")[0]
    heard = models().detector("silero").chunks(silence, onset=0.5, offset=0.35, chunk_size=30)
    speech = [span for chunk in heard for span in chunk.speech]
    found = models().diarizer().diarize(silence, speech=speech)
    assert (found.turns, found.exclusive) == ((), ())


def test_a_stop_comes_through_and_leaves_the_diarizer_usable(found: Diarization, clip: Audio) -> None:
    def stop(fraction: float) -> None:
        raise Cancelled("x")

    with pytest.raises(Cancelled):
        models().diarizer().diarize(clip, Monitor(report=stop))
    assert models().diarizer().diarize(clip).turns == found.turns


def error_rate(found: Diarization) -> float:
    turns = [{"start": t.start, "end": t.end, "speaker": t.label} for t in found.turns]
    return score(truth("conversation"), {"segments": [], "turns": turns}).diarization_error_rate


def test_half_precision_changes_the_voices_and_not_who_they_are() -> None:
    audio = recording("conversation.mp3")[0]
    half = Models(ModelSet(configured()), "cpu", half=True).diarizer()
    heard: list[np.ndarray] = []
    for one in (models().diarizer(), half):
        embeddings = one._pipeline.get_embeddings

        def remembered(*given: Any, real: Callable[..., Any] = embeddings, **options: Any) -> Any:
            heard.append(real(*given, **options))
            return heard[-1]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(one._pipeline, "get_embeddings", remembered)
            assert error_rate(one.diarize(audio)) < 0.06
    full, rough = heard
    assert full.dtype == rough.dtype
    alike = (full * rough).sum(-1) / np.linalg.norm(full, axis=-1) / np.linalg.norm(rough, axis=-1)
    assert 0.99 < np.nanmin(alike) < 1, "less alike than it should be, or not computed in 16 bits"


def test_in_parity_the_precision_is_left_alone() -> None:
    source = str(ModelSet(configured()).diarization.path)
    network = Diarizer(source, "cpu", None, parity=True, half=True)._pipeline._embedding.model_
    assert all("forward" not in vars(layer) for layer in network.modules())


def test_batches_follow_the_free_memory_and_stay_where_it_is_unknown() -> None:
    assert comfortable_batches(0, [32, 32]) == [32, 32]
    assert comfortable_batches(6_000_000_000, [32, 32]) == [128, 32]
    assert comfortable_batches(80_000_000_000, [32, 32]) == [256, 128]
    assert comfortable_batches(1, [32, 32]) == [1, 1]


def test_on_a_gpu_the_batches_fit_its_memory_halve_when_they_do_not_and_are_the_models_own_afterwards(
    clip: Audio, found: Diarization, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = models().diarizer()
    own, used = [getattr(one._pipeline, name) for name in BATCHES], []
    segmentations = one._pipeline.get_segmentations

    def crowded(*given: Any, **options: Any) -> Any:
        used.append([getattr(one._pipeline, name) for name in BATCHES])
        if len(used) <= 2:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return segmentations(*given, **options)

    monkeypatch.setattr(one, "_device", "cuda")
    monkeypatch.setattr(one._pipeline, "get_segmentations", crowded)
    monkeypatch.setattr(diarizer, "spare_gpu_memory", lambda: 6_000_000_000)
    turns = one.diarize(clip).turns
    assert used == [[128, 32], [128, 32], [64, 16]]
    assert [getattr(one._pipeline, name) for name in BATCHES] == own
    assert [t.label for t in turns] == [t.label for t in found.turns]


def test_a_batch_that_does_not_fit_is_done_again_and_no_finished_one_with_it(
    clip: Audio, found: Diarization, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = models().diarizer()
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)  # as on a GPU: no batch is shared among cores
    inference, embedding = one._pipeline._segmentation, one._pipeline._embedding
    heard: dict[str, list[int]] = {"segmentation": [], "embedding": []}
    steps: list[str] = []

    class Full:
        """Stands in for a network on a full card: its second batch fits into memory once `clear` was asked."""

        def __init__(self, name: str, real: Any) -> None:
            self.name, self.real = name, real

        def __call__(self, batch: Any, *given: Any, **options: Any) -> Any:
            heard[self.name].append(len(batch))
            if len(heard[self.name]) > 1 and self.name not in steps:
                raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
            return self.real(batch, *given, **options)

        def __getattr__(self, name: str) -> Any:
            return getattr(self.real, name)

    def clear() -> bool:
        steps.append("embedding" if steps else "segmentation")
        return True

    for name in BATCHES:
        monkeypatch.setattr(one._pipeline, name, 2)
    monkeypatch.setattr(inference, "infer", Full("segmentation", inference.infer))
    monkeypatch.setattr(one._pipeline, "_embedding", Full("embedding", embedding))
    turns = one.diarize(clip, clear=clear).turns
    assert steps == ["segmentation", "embedding"]
    assert [t.label for t in turns] == [t.label for t in found.turns]
    # The first batch once; the second as it was, after the caches, and after `clear`.
    assert all(sizes[:4] == [2, 2, 2, 2] for sizes in heard.values())
    assert sum(heard["segmentation"]) - 4 == window_count(network_of(inference), len(clip))[0]

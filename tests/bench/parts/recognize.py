"""Recognition: the worker's own engine against whisperX's pipeline, same weights, same chunks, and the same words."""

from __future__ import annotations

from support.demo import models, recording, stock_models

from bench.row import Row, in_turns
from scribe.engines.base import SpeechOptions, TranscriptionRequest
from scribe.engines.faster_whisper import WhisperEngine
from scribe.transcript import Segment

RECORDINGS = ("meeting.mp3", "conversation.mp3")


def measure() -> list[Row]:
    rows = []
    for beam in (1, 5):
        options = SpeechOptions(batch_size=4, beam_size=beam)
        own, whisperx = (m.engine(m.model_set.speech()) for m in (models(), stock_models()))
        a, b = _heard(own, options), _heard(whisperx, options)
        words = [" ".join(s.text for s in found).split() for found in (a, b)]
        alike = sum(x.text == y.text for x, y in zip(a, b, strict=False))
        note = (
            f"gates and all; {alike} of {len(b)} chunks word for word alike, {len(words[0])} and {len(words[1])} words"
        )
        stock, ours = in_turns(lambda e=whisperx, o=options: _heard(e, o), lambda e=own, o=options: _heard(e, o), 3)
        rows.append(Row(f"recognition of four minutes, beam {beam}", ours, stock, note=note))
    return rows


def _heard(engine: WhisperEngine, options: SpeechOptions) -> list[Segment]:
    found: list[Segment] = []
    for name in RECORDINGS:
        (audio,) = recording(name)
        chunks = models().detector("silero").chunks(audio, 0.5, 0.363, 15)
        engine.transcribe(TranscriptionRequest(audio, chunks, "en", options), found.append)
    return found

"""Who speaks when: pyannote's pipeline, called directly.

whisperX's wrapper keeps only the overlapping turns; the *exclusive* ones, made to be laid over a transcript, and the
speakers' embeddings come from the pipeline itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from .audio import SAMPLE_RATE, Audio
from .transcript import Turn

# pyannote counts each of its two long steps from zero; together they are the stage.
STEPS = {"segmentation": (0.0, 0.4), "embeddings": (0.4, 1.0)}


@dataclass(frozen=True, slots=True)
class Diarization:
    """`turns` may overlap; `exclusive` never do. `embeddings`: one vector a label, in pyannote's own space."""

    turns: tuple[Turn, ...] = ()
    exclusive: tuple[Turn, ...] = ()
    embeddings: Mapping[str, tuple[float, ...]] = field(default_factory=dict)


class Diarizer:
    """`source` is a folder or a repository; raises what pyannote and the hub raise when it cannot be loaded."""

    def __init__(self, source: str, device: str, token: str | None) -> None:
        import torch
        from pyannote.audio import Pipeline

        pipeline = Pipeline.from_pretrained(source, token=token)
        if pipeline is None:
            raise FileNotFoundError(source)
        self._pipeline = pipeline.to(torch.device(device))

    def diarize(
        self,
        audio: Audio,
        tick: Callable[[float | None], None],
        num_speakers: int | None = None,
        min_speakers: int | None = None,
        max_speakers: int | None = None,
    ) -> Diarization:
        """Turns of the whole recording, in seconds. `tick` may raise to stop; it is called after every batch."""
        import torch

        def hook(
            step: str, artefact: object, file: object = None, total: int | None = None, completed: int | None = None
        ) -> None:
            low, high = STEPS.get(step, (None, None))
            done = (
                low + (high - low) * min(1.0, (completed or 0) / total)
                if total and low is not None and high is not None
                else None
            )
            tick(done)

        found = self._pipeline(
            {"waveform": torch.from_numpy(audio[:]).unsqueeze(0), "sample_rate": SAMPLE_RATE},
            num_speakers=num_speakers,
            min_speakers=min_speakers,
            max_speakers=max_speakers,
            hook=hook,
        )
        labels = found.speaker_diarization.labels()
        vectors = found.speaker_embeddings if found.speaker_embeddings is not None else []
        return Diarization(
            _turns(found.speaker_diarization, audio.seconds),
            _turns(found.exclusive_speaker_diarization, audio.seconds),
            {label: tuple(map(float, vector)) for label, vector in zip(labels, vectors, strict=False)},
        )


def _turns(annotation: object, seconds: float) -> tuple[Turn, ...]:
    """In time order, cut at the recording's end: the last analysis window reaches beyond it."""
    return tuple(
        Turn(round(max(0.0, s.start), 3), round(min(seconds, s.end), 3), label)
        for s, _, label in annotation.itertracks(yield_label=True)  # type: ignore[attr-defined]
        if s.start < seconds
    )

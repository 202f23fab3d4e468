"""Which stages a job passes: decided once from its options, for whatever runs them, loads for them or shows them."""

from __future__ import annotations

from dataclasses import dataclass

from scribe.schema.job import JobInput


@dataclass(frozen=True, slots=True)
class Plan:
    """`recognize` is False for a job that starts from a stored transcript; `split`: each channel is one speaker.

    `match` compares the speakers with voice samples, `embed` delivers their embeddings.
    """

    recognize: bool
    align: bool
    diarize: bool
    match: bool
    embed: bool
    split: bool

    @classmethod
    def of(cls, options: JobInput) -> Plan:
        """Make the plan of a checked job."""
        recognize, split = options.source is None, options.channels == "split"
        diarize = (options.diarization or options.speaker_verification) and recognize and not split
        return cls(
            recognize=recognize,
            align=recognize and (options.align_output or diarize),
            diarize=diarize,
            match=options.speaker_verification,
            embed=diarize and options.return_speaker_embeddings,
            split=recognize and split,
        )

    @property
    def name(self) -> bool:
        """Whether the speakers' voices are computed at all."""
        return self.match or self.embed

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages in order, as a caller sees them: what the percentage is counted over."""
        optional = {
            "transcribe": self.recognize,
            "align": self.align,
            "diarize": self.diarize,
            "name": self.name,
        }
        names = ("fetch", "decode", "transcribe", "align", "diarize", "name", "publish")
        return tuple(name for name in names if optional.get(name, True))

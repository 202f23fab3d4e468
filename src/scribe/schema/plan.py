"""The stages of a job, decided once from its options, for running them, loading their models and showing progress."""

from __future__ import annotations

from dataclasses import dataclass

from scribe.schema.job import JobInput


@dataclass(frozen=True, slots=True)
class Plan:
    """The stages that one job passes.

    `recognize` is False for a job that starts from a stored transcript. `split`: each channel is one speaker. `match`
    compares the speakers with voice samples; `embed` returns their embeddings.
    """

    recognize: bool
    align: bool
    diarize: bool
    match: bool
    embed: bool
    split: bool

    @classmethod
    def of(cls, options: JobInput) -> Plan:
        """Return the plan of a checked job."""
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
        """Whether speaker embeddings are computed."""
        return self.match or self.embed

    @property
    def stages(self) -> tuple[str, ...]:
        """The names of the stages in order, as progress events show them; the percentage is counted over these."""
        optional = {
            "transcribe": self.recognize,
            "align": self.align,
            "diarize": self.diarize,
            "name": self.name,
        }
        names = ("fetch", "decode", "transcribe", "align", "diarize", "name", "publish")
        return tuple(name for name in names if optional.get(name, True))

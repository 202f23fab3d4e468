"""What the caller should know although the job succeeded, and which of a job's options cannot act."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .job import JobInput


@dataclass(frozen=True, slots=True)
class Notice:
    """One entry of the answer's `warnings`. `stage` says where it arose."""

    code: str
    stage: str
    message: str

    def to_dict(self) -> dict[str, str]:
        return asdict(self)


OF_RECOGNITION = frozenset(
    (
        "language task model quality batch_size beam_size patience length_penalty repetition_penalty "
        "no_repeat_ngram_size initial_prompt hotwords suppress_numerals vad_method vad_onset vad_offset chunk_size "
        "language_detection_min_prob language_detection_max_tries align_output interpolate_method "
        "return_char_alignments diarization num_speakers min_speakers max_speakers channels channel_names"
    ).split()
)
GATES = ("temperature", "compression_ratio_threshold", "log_prob_threshold", "no_speech_threshold")
COUNTS = ("num_speakers", "min_speakers", "max_speakers", "return_speaker_embeddings")


def ignored_options(job: JobInput) -> list[Notice]:
    """A notice for every option that this job gave and that does nothing, and for what its options imply."""
    aligned = job.align_output or job.wants_diarization
    stored, split = job.source is not None, job.channels == "split"
    table = [
        (stored, sorted(job.model_fields_set & OF_RECOGNITION), "with source, which recognizes nothing anew"),
        (True, GATES, ": whisperX's batched decoding has no gates"),
        (split, ("diarization", *COUNTS), "with channels: split, where each channel is one speaker"),
        (not split, ("channel_names",), "without channels: split"),
        (not split and not job.wants_diarization and not stored, COUNTS, "without diarization"),
        (not job.speaker_verification, ("speaker_samples", "speaker_threshold"), "without speaker_verification"),
        (not job.align_output and not stored, ("return_char_alignments",), "without align_output"),
        (
            not aligned and not stored and job.interpolate_method != "nearest",
            ("interpolate_method",),
            "without align_output",
        ),
    ]
    notices = [
        Notice("option_ignored", "input", f"{name} does nothing{'' if why.startswith(':') else ' '}{why}")
        for applies, names, why in table
        if applies
        for name in names
        if name in job.model_fields_set and getattr(job, name) not in (None, False, [])
    ]
    if job.speaker_verification and not job.diarization and job.wants_diarization:
        message = "speaker_verification needs the speakers separated: diarization was switched on"
        notices.append(Notice("diarization_implied", "input", message))
    return notices

"""Warn about options of a job that have no effect, and about stages that its options switch on."""

from __future__ import annotations

from scribe.schema.job import JobInput
from scribe.schema.plan import Plan
from scribe.schema.warnings import JobWarning

OF_RECOGNITION = frozenset(
    (
        "language task model quality batch_size beam_size patience length_penalty repetition_penalty "
        "no_repeat_ngram_size initial_prompt hotwords suppress_numerals vad_method vad_onset vad_offset chunk_size "
        "language_detection_min_prob language_detection_max_tries align_output interpolate_method "
        "return_char_alignments diarization num_speakers min_speakers max_speakers return_speaker_embeddings "
        "channels channel_names temperature compression_ratio_threshold log_prob_threshold no_speech_threshold"
    ).split()
)
GATES = ("temperature", "compression_ratio_threshold", "log_prob_threshold", "no_speech_threshold")
COUNTS = ("num_speakers", "min_speakers", "max_speakers", "return_speaker_embeddings")
NAMING = ("speaker_samples", "speaker_threshold", "speaker_margin")
DETECTION = ("language_detection_min_prob", "language_detection_max_tries")
SUBTITLES = ("max_line_width", "max_line_count", "highlight_words", "subtitle_speakers", "max_chars_per_second")


def ignored_options(job: JobInput, plan: Plan, inline_text: str | None) -> list[JobWarning]:
    """Return a warning for each option that the job set and that has no effect, and for what its options imply."""
    aligned = job.align_output or plan.diarize
    stored, split = job.source is not None, job.channels == "split"
    texts = {*(job.formats or ()), *job.result_urls, inline_text}
    # When several rows apply to a key, the first one gives the reason.
    table = [
        (stored, sorted(OF_RECOGNITION), "with source, which recognizes nothing anew"),
        (split, ("diarization", *COUNTS), "with channels: split, where each channel is one speaker"),
        (not split, ("channel_names",), "without channels: split"),
        (not split and not plan.diarize, COUNTS, "without diarization"),
        (not job.speaker_verification, NAMING, "without speaker_verification"),
        (not job.align_output, ("return_char_alignments",), "without align_output"),
        (not aligned, ("interpolate_method",), "without align_output"),
        (job.language is not None, DETECTION, "with language, which leaves nothing to detect"),
        (job.beam_size is not None, ("quality",), "with beam_size"),
        (job.beam == 1, ("patience", "length_penalty"), "with a beam of 1, which compares nothing"),
        (not texts & {"srt", "vtt"}, SUBTITLES, "without srt or vtt"),
        (not texts & {"srt", "vtt", "txt"}, ("mark_suspect",), "without txt, srt or vtt"),
        ("txt" not in texts, ("txt_times",), "without txt"),
    ]
    ignored: dict[str, str] = {}
    for applies, names, why in table:
        for name in names if applies else ():
            if name in job.model_fields_set and not _is_default(job, name):
                ignored.setdefault(name, f"{name} does nothing {why}")
    warnings = [JobWarning("option_ignored", "input", message) for message in ignored.values()]
    if job.highlight_words and texts & {"srt", "vtt"} and not (aligned or stored):
        message = "highlight_words marks words by times that share their segment's evenly: align_output measures them"
        warnings.append(JobWarning("option_reduced", "input", message))
    if job.speaker_verification and not job.diarization and plan.diarize:
        message = "speaker_verification needs the speakers separated: diarization was switched on"
        warnings.append(JobWarning("diarization_implied", "input", message))
    return warnings


def _is_default(job: JobInput, name: str) -> bool:
    """Return whether the job sets the option to its default."""
    return bool(getattr(job, name) == type(job).model_fields[name].get_default(call_default_factory=True))

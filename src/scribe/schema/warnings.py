"""What the caller should know although the job succeeded, and which of a job's options cannot act."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scribe.schema.job import JobInput


@dataclass(frozen=True, slots=True)
class JobWarning:
    """One entry of the answer's `warnings`. `stage` says where it arose."""

    code: str
    stage: str
    message: str

    def to_dict(self) -> dict[str, str]:
        return asdict(self)


# Beside these, a stage that was skipped is told by its error's code, or as <stage>_failed.
CODES = {
    "audio_damaged": "parts of the file could not be decoded and are missing",
    "batch_reduced": "batches were too large for the GPU's memory; smaller ones did the work",
    "deadline_reached": "`deadline_s` passed: what was finished until then is the answer, `partial: true`",
    "diarization_implied": "an option needs the speakers separated, and that was switched on",
    "length_unverified": "the server did not say how long the file is, so it cannot be proven complete",
    "no_speakers": "nobody's voice could be told apart: segments have no speaker",
    "no_speech": "voice activity detection heard nobody: there is no text",
    "one_channel": "`channels: split` of a recording that has one",
    "option_ignored": "an option did nothing, and why",
    "option_reduced": "an option acted with a smaller value, or cut to what the model takes",
    "preview_only": "the answer shows the first segments, without words, because there is no storage: send `inline: full`",
    "presign_failed": "an artifact is stored and its link could not be signed; the key is in the answer",
    "result_truncated": "the answer was too large and its inline part became the preview; the artifacts are whole",
    "sample_unusable": "a voice sample could not be fetched, decoded or compared; the others count",
    "sample_without_speech": "a voice sample holds too little speech to make a voice print of",
    "sentence_rules": "NLTK's tables of sentence ends could not be had: rules say where a sentence ends, the words are the same",
    "speaker_count": "not as many speakers were found as `num_speakers`, `min_speakers` or `max_speakers` ask for",
    "speaker_uncalibrated": "names go by a threshold that nobody measured on this speaker model; `make calibrate` does",
    "speech_without_text": "seconds that sound like speech in which nothing was recognized, also not on a second look",
    "storage_not_configured": "formats, or `inline: none`, were asked for and the worker has no storage; text formats are"
    " in `texts`",
    "suspect_text": "some of the text may be invented; those segments say why in `suspect`",
}
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


def ignored_options(job: JobInput) -> list[JobWarning]:
    """A notice for every option that this job set to something and that does nothing, and for what its options imply."""
    aligned = job.align_output or job.wants_diarization
    stored, split = job.source is not None, job.channels == "split"
    texts = {*(job.formats or ()), *job.result_urls, job.inline_text}
    # The first row that has a key gives the reason.
    table = [
        (stored, sorted(OF_RECOGNITION), "with source, which recognizes nothing anew"),
        (split, ("diarization", *COUNTS), "with channels: split, where each channel is one speaker"),
        (not split, ("channel_names",), "without channels: split"),
        (not split and not job.wants_diarization, COUNTS, "without diarization"),
        (not job.speaker_verification, NAMING, "without speaker_verification"),
        (not job.align_output, ("return_char_alignments",), "without align_output"),
        (not aligned, ("interpolate_method",), "without align_output"),
        (job.language is not None, DETECTION, "beside language, which leaves nothing to detect"),
        (job.beam_size is not None, ("quality",), "beside beam_size"),
        (job.beam == 1, ("patience", "length_penalty"), "with a beam of 1, which compares nothing"),
        (not texts & {"srt", "vtt"}, SUBTITLES, "without srt or vtt"),
        (not texts & {"srt", "vtt", "txt"}, ("mark_suspect",), "without txt, srt or vtt"),
        ("txt" not in texts, ("txt_times",), "without txt"),
    ]
    told: dict[str, str] = {}
    for applies, names, why in table:
        for name in names if applies else ():
            if name in job.model_fields_set and not _is_default(job, name):
                told.setdefault(name, f"{name} does nothing {why}")
    notices = [JobWarning("option_ignored", "input", message) for message in told.values()]
    if job.highlight_words and texts & {"srt", "vtt"} and not (aligned or stored):
        message = "highlight_words marks words by times that share their segment's evenly: align_output measures them"
        notices.append(JobWarning("option_reduced", "input", message))
    if job.speaker_verification and not job.diarization and job.wants_diarization:
        message = "speaker_verification needs the speakers separated: diarization was switched on"
        notices.append(JobWarning("diarization_implied", "input", message))
    return notices


def _is_default(job: JobInput, name: str) -> bool:
    """Whether the job asks for what happens anyway."""
    return getattr(job, name) == type(job).model_fields[name].get_default(call_default_factory=True)

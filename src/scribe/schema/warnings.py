"""The warnings of an answer: their codes and what each means."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class JobWarning:
    """One entry of the answer's `warnings`; `stage` names the stage that added it."""

    code: str
    stage: str
    message: str

    def to_dict(self) -> dict[str, str]:
        return asdict(self)


# A skipped stage is reported by its error's code or as <stage>_failed, besides these.
CODES = {
    "audio_damaged": "parts of the file could not be decoded and are missing",
    "batch_reduced": "batches were too large for the GPU's memory; smaller ones did the work",
    "deadline_reached": "`deadline_s` passed: what was finished until then is the answer, `partial: true`",
    "diarization_implied": "an option needs the speakers separated, so diarization was switched on",
    "length_unverified": "the server did not say how long the file is, so it may be incomplete",
    "no_speakers": "no voices could be distinguished: segments have no speaker",
    "no_speech": "voice activity detection found no speech: there is no text",
    "one_channel": "`channels: split` of a recording that has one",
    "option_ignored": "an option did nothing, and why",
    "option_reduced": "an option acted with a smaller value, or cut to what the model takes",
    "preview_only": "the answer shows the first segments, without words, because there is no storage: send `inline: full`",
    "presign_failed": "an artifact is stored and its link could not be signed; the key is in the answer",
    "result_truncated": "the answer was too large and its inline part became the preview; the artifacts are whole",
    "sample_unusable": "a voice sample could not be fetched, decoded or compared; the others count",
    "sample_without_speech": "a voice sample holds too little speech for an embedding",
    "sentence_rules": "NLTK's tables of sentence ends could not be downloaded: sentences end by rules, the words are the same",
    "speaker_count": "not as many speakers were found as `num_speakers`, `min_speakers` or `max_speakers` ask for",
    "speaker_uncalibrated": "the threshold for names was not measured on this speaker model; `make calibrate` does that",
    "speech_without_text": "seconds that sound like speech and for which no text was recognized, even when decoded again",
    "storage_not_configured": "formats, or `inline: none`, were asked for and the worker has no storage; text formats are"
    " in `texts`",
    "suspect_text": "some of the text may be invented; those segments say why in `suspect`",
}

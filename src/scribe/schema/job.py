"""The options of a job's input with their ranges and defaults. `parsing.parse` makes one from a dict.

The table of docs/job-inputs.md and the JSON schema in `samples/jobs/` are generated from the fields' descriptions.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Literal

from pydantic import Field, field_validator

from scribe.schema.languages import language_code
from scribe.schema.metadata import small
from scribe.schema.speaker_sample import Hidden, SpeakerSample, Strict

SCHEMA_VERSION = "1"
FormatName = Literal["json", "srt", "vtt", "tsv", "txt", "html"]
BEAM_OF_QUALITY = {"fast": 1, "balanced": 5, "best": 10}


class Source(Strict):
    """A stored transcript to start from, instead of audio."""

    transcript_url: Hidden = Field(
        repr=False, max_length=4096, description="address of an earlier job's transcript.json"
    )


class JobInput(Strict):
    """One recording and what to do with it. Unknown keys are refused, naming the nearest known one."""

    audio_file: Hidden | None = Field(
        None,
        repr=False,
        max_length=4096,
        description="http or https address of the recording (aliases `audio`, `audio_url`)",
    )
    audio_base64: Hidden | None = Field(
        None, repr=False, description="the recording itself, at most MAX_BASE64_BYTES (alias `audio_base_64`)"
    )
    source: Source | None = Field(
        None,
        description="object with `transcript_url`: render other formats from a stored transcript, or name its "
        "speakers anew, without audio",
    )
    language: str | None = Field(None, description="ISO code, or the English name; null detects it")
    task: Literal["transcribe", "translate"] = Field("transcribe", description="translate writes English")
    model: str | None = Field(
        None, max_length=200, description="a name in ALLOWED_MODELS; null takes the configured one"
    )
    quality: Literal["fast", "balanced", "best"] = Field("balanced", description="preset of beam_size: 1, 5, 10")
    batch_size: int | None = Field(
        None, ge=1, le=128, description="chunks decoded at once; null: by free memory, 16 on a GPU of 24 GB, 4 on a CPU"
    )
    beam_size: int | None = Field(None, ge=1, le=10, description="null takes the quality's")
    patience: float = Field(1.0, gt=0, le=2, description="beam search goes on until this many times the beam has ended")
    length_penalty: float = Field(1.0, ge=0, le=2, description="above 1 favours long texts, below 1 short ones")
    repetition_penalty: float = Field(1.0, ge=1, le=2, description="above 1 makes repeated tokens less likely")
    no_repeat_ngram_size: int = Field(0, ge=0, le=10, description="no run of this many tokens comes twice; 0 is off")
    initial_prompt: str | None = Field(
        None, max_length=1000, description="text that precedes every chunk, not only the first"
    )
    hotwords: str | None = Field(None, max_length=1000, description="words to expect")
    suppress_numerals: bool = Field(False, description="spell numbers out, so that every word can be aligned")
    temperature: float | None = Field(
        None,
        ge=0,
        le=1,
        description="where sampling begins when a doubtful chunk is decoded again, then up by 0.2; null and 0: 0.2",
    )
    compression_ratio_threshold: float | None = Field(
        None, gt=0, le=10, description="a text that compresses better repeats itself and is decoded again; null: 2.4"
    )
    log_prob_threshold: float | None = Field(
        None,
        ge=-10,
        le=0,
        description="a text of a lower average log probability is decoded again; null takes the model set's",
    )
    no_speech_threshold: float | None = Field(
        None, ge=0, le=1, description="above it, and below log_prob_threshold, a chunk is taken for silence; null: 0.6"
    )
    vad_method: Literal["pyannote", "silero"] | None = Field(None, description="null takes the model set's")
    vad_onset: float | None = Field(None, gt=0, lt=1, description="null takes the model set's")
    vad_offset: float | None = Field(
        None, gt=0, lt=1, description="null takes the model set's; above vad_onset it acts as vad_onset"
    )
    chunk_size: int | None = Field(
        None, ge=1, le=30, description="seconds decoded as one piece; null takes the model set's"
    )
    language_detection_min_prob: float = Field(
        0.0, ge=0, le=1, description="stop detecting the language at this probability"
    )
    language_detection_max_tries: int = Field(5, ge=1, le=20, description="most chunks of speech to detect it from")
    align_output: bool = Field(False, description="deliver words with their times")
    interpolate_method: Literal["nearest", "linear", "ignore"] = Field(
        "nearest",
        description="in parity mode, how words that were not aligned get times; otherwise they are placed where there is sound for them",
    )
    return_char_alignments: bool = Field(False, description="deliver characters with their times too")
    diarization: bool = Field(False, description="separate the speakers; words are aligned for it in any case")
    num_speakers: int | None = Field(None, ge=1, le=50, description="how many; excludes the next two")
    min_speakers: int | None = Field(None, ge=1, le=50, description="at least this many speakers")
    max_speakers: int | None = Field(None, ge=1, le=50, description="at most this many speakers")
    speaker_verification: bool = Field(False, description="name the speakers by `speaker_samples`; implies diarization")
    speaker_samples: list[SpeakerSample] = Field(
        default_factory=list, max_length=20, description="objects of `url` or `audio_base64` or `embedding`, and `name`"
    )
    speaker_threshold: float | None = Field(
        None, ge=-1, le=1, description="least cosine of a match; null takes the speaker model's"
    )
    speaker_margin: float | None = Field(
        None, ge=0, le=2, description="least lead over the second-best name; null takes the speaker model's"
    )
    return_speaker_embeddings: bool = Field(False, description="deliver each speaker's embedding")
    channels: Literal["mix", "split"] = Field("mix", description="split: each channel is one speaker")
    channel_names: list[str] = Field(default_factory=list, max_length=16, description="names of the channels, in order")
    formats: list[FormatName] | None = Field(
        None,
        max_length=6,
        description="artifacts; null: json with storage, none without. Without storage text formats come under `texts`, and "
        "json as `inline: full`",
    )
    inline: Literal["preview", "full", "none"] | None = Field(
        None,
        description="preview: 50 segments without words; null: INLINE_DEFAULT, else none with storage and preview without",
    )
    result_urls: dict[FormatName, Hidden] = Field(
        repr=False,
        default_factory=dict,
        max_length=6,
        description="presigned PUT address by format: results go there, not into the worker's storage",
    )
    max_line_width: int = Field(42, ge=10, le=200, description="characters in a subtitle line")
    max_line_count: int = Field(2, ge=1, le=4, description="lines in a subtitle")
    highlight_words: bool = Field(False, description="subtitles mark the spoken word")
    subtitle_speakers: Literal["name", "dash", "every", "none"] | None = Field(
        None,
        description="name or dash where the speaker changes, name in every cue, none; null: name in SRT, voice tag in VTT",
    )
    max_chars_per_second: int = Field(
        20,
        ge=5,
        le=60,
        description="reading speed: a subtitle is shown that long where there is time, or is merged with its neighbour",
    )
    mark_suspect: bool = Field(True, description="`[?]` before text that may be invented, in TXT, SRT and VTT")
    txt_times: bool = Field(True, description="TXT: the time before each paragraph")
    deadline_s: float | None = Field(
        None,
        gt=0,
        le=604800,
        description="seconds from receipt after which the job stops and answers with what is finished, `partial: true`",
    )
    metadata: dict[str, object] | None = Field(
        None,
        repr=False,
        description="an object of your own, at most 4 KB of JSON: the answer, a failure too, returns it",
    )
    debug: bool | None = Field(None, description="effective options and memory in the answer; null takes DEBUG")
    strict: bool = Field(False, description="a stage that cannot be done fails the job")

    @field_validator("language")
    @classmethod
    def _known_language(cls, value: str | None) -> str | None:
        return None if value is None else language_code(value)[0]

    @field_validator("metadata")
    @classmethod
    def _small(cls, value: dict[str, object] | None) -> dict[str, object] | None:
        return None if value is None else small(value)

    @property
    def beam(self) -> int:
        return self.beam_size or BEAM_OF_QUALITY[self.quality]


def fingerprint(raw: object, models: Mapping[str, str]) -> str:
    """Return 16 hex digits of the canonical input, the models' revisions and the schema version: equal jobs, equal digits."""
    canonical = json.dumps([raw, dict(models), SCHEMA_VERSION], sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()[:16]

"""Suggest, for an unknown key, the key that means the same here, or say what to do instead.

Keys are looked up by meaning (the names that other services use), then by spelling when a typing error is likely.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection

from scribe.schema.aliases import ALIASES

# This worker's key: the names that other services use for it.
_WORDS = {
    "audio_file": "file file_url file_path filepath filename path audio_path audio_uri audio_link media media_url mp3 "
    "video video_url url uri link source_url input input_url input_file recording recording_url download_url",
    "audio_base64": "base64 audio_data audio_content audio_bytes audio_b64 file_base64 data content",
    "language": "lang language_code source_language source_lang locale spoken_language",
    "model": "model_name model_size model_id whisper_model asr_model speech_model",
    "diarization": "diarize diarise diarisation speaker_labels speaker_diarization enable_diarization "
    "enable_speaker_diarization speaker_detection detect_speakers",
    "num_speakers": "num_speaker number_of_speakers n_speakers speakers speakers_expected speaker_count speakers_count "
    "expected_speakers",
    "min_speakers": "min_speaker min_num_speakers minimum_speakers min_speaker_count",
    "max_speakers": "max_speaker max_num_speakers maximum_speakers max_speaker_count",
    "speaker_samples": "known_speakers known_speaker_references voices voice_samples enrollments speaker_names",
    "align_output": "align alignment timestamps word_level_timestamps words return_timestamps timestamp_granularities "
    "timestamp_granularity enable_word_time_offsets word_time_offsets",
    "formats": "format response_format output_format output_formats subtitle_format export_format output",
    "initial_prompt": "prompt context",
    "hotwords": "keywords keyterms keyterm key_terms word_boost custom_vocabulary vocabulary phrases boost",
    "chunk_size": "chunk_length chunk_length_s chunk_duration",
    "batch_size": "batch",
    "beam_size": "beam beams num_beams",
    "deadline_s": "timeout timeout_s time_limit max_duration",
    "inline": "return_segments full_transcript return_full",
    "max_line_width": "max_chars_per_line chars_per_line chars_per_caption",
    "max_line_count": "max_lines lines_per_caption",
}
_ENDPOINT = "is decided by the endpoint's settings, not by a job"
_SENTENCES = {
    "goes beside `input`, not into it": "webhook webhook_url policy s3config s3_config",
    "is called `webhook` here and goes beside `input`: RunPod posts the answer to it": "callback callback_url",
    "is not needed: the text has punctuation and capitals": "punctuate punctuation smart_format format_text auto_punctuation "
    "enable_automatic_punctuation",
    "is not needed: without `language` it is detected": "language_detection detect_language auto_detect_language",
    "does nothing here: silence is always left out": "vad vad_filter use_vad",
    "is not offered: `task: translate` writes English, the one language that Whisper translates into": "target_language "
    "translate_to translation_language target_lang",
    "is written `channels: split` here": "multichannel multi_channel dual_channel channel split_channels separate_channels",
    "cannot be sent to the recording's server: give a presigned address, or https://user:password@host/…": "headers "
    "authorization auth cookies",
    "belongs to the endpoint (HF_TOKEN), and no key of RunPod's into a job": "api_key token hf_token huggingface_token",
    f"{_ENDPOINT}: WHISPERX_DEVICE": "device gpu cuda",
    f"{_ENDPOINT}: WHISPERX_COMPUTE_TYPE": "compute_type precision dtype float16 int8",
    "is not offered: a recording is transcribed whole, cut it before": "start end start_time end_time clip_timestamps offset "
    "audio_start_from audio_end_at start_offset end_offset clip",
    "is not offered: the answer comes whole, with progress until then": "stream streaming partial_results",
}
_KEYS = {word: key for key, words in _WORDS.items() for word in words.split()}
_ADVICE = {word: sentence for sentence, words in _SENTENCES.items() for word in words.split()}


def advice(key: str, known: Collection[str]) -> str:
    """Return the text that follows "is not a known key": the key likely meant, or what to do instead; "" when unknown."""
    plain = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", key).strip().lower().replace("-", "_").replace(" ", "_")
    for word in (plain, plain.replace("_", "")):
        if word in _ADVICE:
            return f": it {_ADVICE[word]}"
    names = (*known, *ALIASES)
    near = [plain] if plain in known else difflib.get_close_matches(plain, names, n=1, cutoff=0.84)
    meant = ALIASES.get(plain) or _KEYS.get(plain) or (ALIASES.get(near[0], near[0]) if near else None)
    return f"; did you mean {meant}?" if meant else ""

"""Translate the job keys of other RunPod workers: each one acts as ours does, or gets a warning.

KOD is kodxana/whisperx-worker, FW is runpod-workers/worker-faster_whisper.
"""

from __future__ import annotations

from collections.abc import Mapping

ALIASES = {
    "audio": "audio_file",
    "audio_url": "audio_file",
    "audio_base_64": "audio_base64",
    "logprob_threshold": "log_prob_threshold",
}
SWITCHES = ("translate", "word_timestamps")
FOREIGN = frozenset((*ALIASES, *SWITCHES, "transcription"))
# Values of FW's `transcription`: all segments on one line, one segment a line, or a subtitle format.
TEXTS = ("plain_text", "formatted_text", "srt", "vtt")
WITHOUT_EFFECT = {
    "huggingface_access_token": "huggingface_access_token is not used: set HF_TOKEN on the endpoint",
    "translation": "translation does nothing: task translate writes English into the transcript itself",
    "enable_vad": "enable_vad does nothing: voice activity detection is always on",
    "best_of": "best_of does nothing: it is always 5",
    "condition_on_previous_text": "condition_on_previous_text does nothing: chunks are decoded independently",
    "temperature_increment_on_fallback": "temperature_increment_on_fallback does nothing: it is always 0.2",
    "suppress_tokens": "suppress_tokens does nothing: use suppress_numerals",
}


def translate(raw: Mapping[str, object]) -> tuple[dict[str, object], list[str], str | None]:
    """Return (the input with our keys only, sentences about keys without effect, the value of `transcription` or None).

    An alias that comes together with its own key is left as it is, so that the check for unknown keys names it.
    """
    known: dict[str, object] = {}
    notices: list[str] = []
    inline_text: str | None = None
    for key, value in raw.items():
        if key in FOREIGN and value in (None, ""):
            continue
        if key in SWITCHES and isinstance(value, str):
            value = {"true": True, "false": False}.get(value.strip().lower(), value)
        target = ALIASES.get(key)
        if target and target not in raw and target not in known:
            known[target] = value
        elif key in WITHOUT_EFFECT:
            notices.append(WITHOUT_EFFECT[key])
        elif key == "transcription" and isinstance(value, str) and value in TEXTS:
            inline_text = value
        elif key == "translate" and isinstance(value, bool):
            if value and raw.get("task", "translate") != "translate":
                notices.append("translate does nothing beside task")
            elif value:
                known["task"] = "translate"
        elif key == "word_timestamps" and isinstance(value, bool):
            if raw.get("align_output", value) != value:
                notices.append("word_timestamps does nothing beside align_output")
            else:
                known["align_output"] = value
        else:
            known[key] = value
    return known, notices, inline_text

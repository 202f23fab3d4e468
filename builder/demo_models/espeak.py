"""Text to speech with the exact time of every word: libespeak-ng through ctypes.

In one process and on one core this makes some 300 seconds of speech a second, where the command line would give no word times at all.
Needs the Debian package `espeak-ng` (or `libespeak-ng1`). The library keeps its state in globals: one Espeak a process. Part of that
state is the flutter of the voices, which runs on from sentence to sentence: the same sentences in the same order give the same samples,
a sentence said again does not.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

RATE = 16000
_WORD, _PHONEME = 1, 7
_RATE, _PITCH, _RANGE, _GAP = 1, 3, 4, 7
_SILENCE = 0.003


@dataclass(frozen=True, slots=True)
class Voice:
    """What makes one synthetic speaker: an espeak-ng voice with a variant, and how it is set."""

    voice: str
    """Such as `en-us+f3`. British English is `gmw/en`: the library refuses `en-gb+variant`, which the command line takes."""
    pitch: int = 50
    rate: int = 160
    """Words a minute."""
    range: int = 50
    gap: int = 0
    """Pause between words, in units of 10 ms."""


@dataclass(frozen=True, slots=True)
class Utterance:
    text: str
    audio: np.ndarray = field(repr=False)
    """float32 mono, 16 kHz, peak 0.5, no silence at either end."""
    words: tuple[tuple[str, float, float], ...]
    """(word as written, start, end) in seconds from the first sample."""

    @property
    def seconds(self) -> float:
        return len(self.audio) / RATE


class _Id(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    """espeak_EVENT of speak_lib.h."""

    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Id),
    ]


_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


class Espeak:
    """The synthesiser. Raises OSError when libespeak-ng is not installed."""

    def __init__(self) -> None:
        self._lib = ctypes.CDLL("libespeak-ng.so.1")
        synchronous, phoneme_events = 2, 1
        self._rate = self._lib.espeak_Initialize(synchronous, 0, None, phoneme_events)
        if self._rate <= 0:
            raise OSError("espeak-ng could not start: its data files are missing")
        self._voice = ""
        self._audio: list[np.ndarray] = []
        self._starts: dict[int, int] = {}
        self._pauses: list[int] = []
        self._callback = _CALLBACK(self._receive)  # kept: C holds only a pointer to it
        self._lib.espeak_SetSynthCallback(self._callback)

    def variants(self) -> list[str]:
        """Names of the installed voice variants (the files of `voices/!v`)."""
        self._lib.espeak_Info.restype = ctypes.c_char_p
        path = ctypes.c_char_p()
        self._lib.espeak_Info(ctypes.byref(path))
        return sorted(file.name for file in (Path(path.value.decode()) / "voices" / "!v").iterdir())

    def say(self, text: str, voice: Voice) -> Utterance | None:
        """None when a word came back without a time or the voice stayed silent. ValueError for an unknown voice."""
        if voice.voice != self._voice:
            if self._lib.espeak_SetVoiceByName(voice.voice.encode()) != 0:
                raise ValueError(f"espeak-ng has no voice {voice.voice}")
            self._voice = voice.voice
        for number, value in ((_RATE, voice.rate), (_PITCH, voice.pitch), (_RANGE, voice.range), (_GAP, voice.gap)):
            self._lib.espeak_SetParameter(number, value, 0)
        self._audio, self._starts, self._pauses = [], {}, []
        raw = text.encode() + b"\0"
        utf8, from_character = 1, 1
        self._lib.espeak_Synth(raw, len(raw), 0, from_character, 0, utf8, None, None)
        self._lib.espeak_Synchronize()
        if not self._audio:
            return None
        samples = np.concatenate(self._audio).astype(np.float32) / 32768
        spans = word_spans(text, self._starts, self._pauses, len(samples))
        loud = np.nonzero(np.abs(samples) > _SILENCE)[0]
        if spans is None or len(loud) == 0:
            return None
        first, last = max(0, loud[0] - 200), min(len(samples), loud[-1] + 400)
        words = tuple(
            (word, _seconds(a, first, last, self._rate), _seconds(b, first, last, self._rate)) for word, a, b in spans
        )
        audio = _resample(samples[first:last], self._rate)
        return Utterance(text, (audio / (np.abs(audio).max() + 1e-6) * 0.5).astype(np.float32), words)

    def _receive(self, wave, count: int, events) -> int:
        if wave and count > 0:
            self._audio.append(np.ctypeslib.as_array(wave, (count,)).copy())
        index = 0
        while events[index].type != 0:
            event = events[index]
            if event.type == _WORD:
                self._starts.setdefault(event.text_position - 1, event.sample)
            elif event.type == _PHONEME and (event.id.string.startswith(b"_") or not event.id.string):
                self._pauses.append(event.sample)
            index += 1
        return 0


def _seconds(sample: int, first: int, last: int, rate: int) -> float:
    return float(min(max(sample, first), last) - first) / rate


def _resample(samples: np.ndarray, rate: int) -> np.ndarray:
    from scipy.signal import resample_poly

    divisor = int(np.gcd(RATE, rate))
    return resample_poly(samples, RATE // divisor, rate // divisor)


def word_spans(text: str, starts: dict[int, int], pauses: list[int], total: int) -> list[tuple[str, int, int]] | None:
    """(word, first sample, last sample) of every word of the text, or None when one cannot be placed.

    `starts` maps a word's character offset to its first sample, `pauses` are the samples where a pause begins.
    A word ends at the next pause or the next word. espeak-ng speaks some pairs as one ("in the" gives one event): such a
    span is divided among its words by their letters.
    """
    words, offsets = [], []
    position = 0
    for word in text.split():
        position = text.index(word, position)
        words.append(word)
        offsets.append(position)
        position += len(word)
    heads = [index for index, offset in enumerate(offsets) if offset in starts]
    if not heads or heads[0] != 0:
        return None
    spans = []
    for head, following in zip(heads, [*heads[1:], len(words)], strict=True):
        begin = starts[offsets[head]]
        end = starts[offsets[following]] if following < len(words) else total
        end = min([end, *(pause for pause in pauses if begin < pause)])
        letters = sum(len(word) for word in words[head:following])
        at = begin
        for word in words[head:following]:
            until = at + round((end - begin) * len(word) / letters)
            spans.append((word, at, until))
            at = until
    return spans

"""Whisper by CTranslate2 alone, many chunks at once: WhisperX's decoding without torch, transformers or their import,
with the gates of Whisper's own sequential decoding (gates.py) and a second look at what does not pass them.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..audio import Audio
from ..coverage import voiced_seconds
from ..errors import DeadlineReached, GpuOutOfMemory
from ..gates import Decoded, Limits, doubts, echoes, silent
from ..gpu_fault import gpu_failure
from ..transcript import Chunk, Segment
from . import SpeechOptions
from .whisper import WINDOW_S, WhisperEngine

log = logging.getLogger(__name__)

# Tokens that a chunk may take for each second, and in any case: a loop in a short chunk would run to 448 and hold its
# whole batch. What is cut by it is decoded again without it.
TOKENS_PER_S, TOKENS_ANYWAY = 10, 24
# Sampled texts of which the likeliest is taken, and the step of the temperature, as in Whisper's own fallback.
BEST_OF, TEMPERATURE_STEP = 5, 0.2
CAREFUL_BEAM = 5
# Of a group's chunks, how many are sampled: each may take five temperatures, and a recording of music would be doubtful
# from end to end. Those with the most speech are tried, the others are marked as they are.
SAMPLED_SHARE, SAMPLED_AT_LEAST = 0.25, 8


@dataclass(frozen=True, slots=True)
class Look:
    """One way to decode chunks: from most likely (`temperature` 0) to sampled; `limited` in tokens by their length."""

    beam_size: int
    temperature: float = 0.0
    prompted: bool = False
    limited: bool = False


class BatchedEngine(WhisperEngine):
    """`source` is a folder or a name; `device` cpu or cuda; `compute_type` CTranslate2's."""

    def __init__(self, source: str, device: str, compute_type: str, threads: int, local_only: bool = False) -> None:
        from faster_whisper import WhisperModel

        model = WhisperModel(
            source, device, compute_type=compute_type, cpu_threads=threads, local_files_only=local_only
        )
        super().__init__(model, device)

    def _heard(
        self,
        audio: Audio,
        chunks: Sequence[Chunk],
        language: str,
        options: SpeechOptions,
        batch: int,
        tick: Callable[[float], None],
    ) -> list[Segment]:
        limits = Limits(options.compression_ratio_threshold, options.log_prob_threshold, options.no_speech_threshold)
        decode = functools.partial(self._decoded, audio, chunks, self._tokenizer(language, options.task), options)
        first, *others = looks(options)
        found: dict[int, Decoded] = {}
        # The longest first: those of one batch end at about the same time.
        order = sorted(range(len(chunks)), key=lambda n: chunks[n].start - chunks[n].end)
        for decoded in decode(order, first, batch):
            found |= decoded
            tick(len(found) / len(chunks))
        silence = {n for n in found if silent(found[n], limits)}
        suspects = self._doubted(found, chunks, limits, silence)
        for look in others:
            again = self._worth(look, first, suspects, chunks)
            # As many rows as the first look had: what the memory held then, it holds again.
            size = max(1, batch * first.beam_size // max(look.beam_size, BEST_OF))
            try:
                for decoded in decode(again, look, size):
                    tick(1.0)
                    for number, text in decoded.items():
                        self._weigh(number, text, chunks[number], found, suspects, limits)
            except DeadlineReached:
                break  # the first look's texts are the job's, marked as they are
            except RuntimeError as error:
                if not isinstance(gpu_failure(error), GpuOutOfMemory):
                    raise
                log.warning("out of GPU memory in a second look: %d doubtful chunks stay as they are", len(suspects))
                break
        if suspects:
            log.info("of %d chunks, %d are doubtful after a second look", len(chunks), len(suspects))
        return [
            Segment(
                round(chunks[n].start, 3),
                round(chunks[n].end, 3),
                found[n].text.strip(),
                avg_logprob=found[n].avg_logprob,
                suspect=suspects.get(n, ()),
            )
            for n in range(len(chunks))
            if found[n].text.strip() and n not in silence
        ]

    @staticmethod
    def _worth(look: Look, first: Look, suspects: dict[int, tuple[str, ...]], chunks: Sequence[Chunk]) -> list[int]:
        """The doubtful chunks that this look may help."""
        if not look.temperature:
            # The same search once more would say the same, except where it was cut.
            same = look == replace(first, limited=False)
            return [n for n in sorted(suspects) if not same or "cut" in suspects[n]]
        # What fills all tokens fills them sampled too.
        helped = [n for n in suspects if set(suspects[n]) != {"cut"}]
        longest = sorted(helped, key=lambda n: -voiced_seconds(chunks[n]))
        return sorted(longest[: max(SAMPLED_AT_LEAST, int(SAMPLED_SHARE * len(chunks)))])

    @staticmethod
    def _weigh(
        number: int,
        text: Decoded,
        chunk: Chunk,
        found: dict[int, Decoded],
        suspects: dict[int, tuple[str, ...]],
        limits: Limits,
    ) -> None:
        """Let a new text of a doubtful chunk take the old one's place where it is better; it may clear the doubt."""
        if not text.text.strip():
            return  # a doubtful sentence can be a true one; silence is for the first look to tell
        reasons = doubts(text, voiced_seconds(chunk), limits)
        if text.text == found[number].text and "repeated" in suspects[number]:
            reasons += ("repeated",)
        if not reasons:
            found[number] = text
            del suspects[number]
        elif better(text, found[number], reasons, suspects[number]):
            found[number], suspects[number] = text, reasons

    @staticmethod
    def _doubted(
        found: dict[int, Decoded], chunks: Sequence[Chunk], limits: Limits, silence: set[int]
    ) -> dict[int, tuple[str, ...]]:
        """{number of a chunk that deserves a second look: the reasons}; what Whisper takes for silence does not."""
        echoed = echoes([found[n].text.strip() for n in range(len(chunks))])
        reasons = {
            n: doubts(found[n], voiced_seconds(chunks[n]), limits) + (("repeated",) if n in echoed else ())
            for n in found
        }
        return {n: why for n, why in reasons.items() if why and n not in silence}

    def _decoded(
        self,
        audio: Audio,
        chunks: Sequence[Chunk],
        tokenizer: Any,
        options: SpeechOptions,
        numbers: Sequence[int],
        look: Look,
        batch: int,
    ) -> Iterator[dict[int, Decoded]]:
        """{number of the chunk: its text}, a batch at a time; the features of the next are made while one is decoded."""
        prompt = self._prompt(tokenizer, options, look)
        suppressed = [-1, *(self._numerals if options.suppress_numerals else ())]
        search: dict[str, Any] = {"beam_size": look.beam_size, "patience": options.patience}
        if look.temperature:
            search = {"beam_size": 1, "num_hypotheses": BEST_OF, "sampling_topk": 0}
            search["sampling_temperature"] = look.temperature
        batches = [numbers[n : n + batch] for n in range(0, len(numbers), batch)]
        for part, features in self._ahead(audio, [[chunks[n] for n in part] for part in batches], batches):
            # CTranslate2 stops at half of max_length, or where prompt and text together reach it.
            most = min(self._model.max_length // 2, self._model.max_length - len(prompt))
            if look.limited:
                longest = max(chunks[n].end - chunks[n].start for n in part)
                most = min(most, TOKENS_ANYWAY + int(TOKENS_PER_S * min(longest, WINDOW_S)))
            results = self._model.model.generate(
                self._model.encode(features),
                [prompt] * len(part),
                length_penalty=options.length_penalty,
                repetition_penalty=options.repetition_penalty,
                no_repeat_ngram_size=options.no_repeat_ngram_size,
                max_length=max(2 * most, most + len(prompt)),
                return_scores=True,
                return_no_speech_prob=True,
                suppress_blank=True,
                suppress_tokens=suppressed,
                **search,
            )
            yield {n: self._told(result, tokenizer, options, most) for n, result in zip(part, results, strict=True)}

    def _told(self, result: Any, tokenizer: Any, options: SpeechOptions, limit: int) -> Decoded:
        tokens = result.sequences_ids[0]
        total = result.scores[0] * len(tokens) ** options.length_penalty
        text = tokenizer.tokenizer.decode([t for t in tokens if t < tokenizer.eot])
        # Whisper writes a lone full stop where it has nothing to say, and it must not pass for what was said.
        text = text if any(map(str.isalnum, text)) else ""
        return Decoded(text, total / (len(tokens) + 1), result.no_speech_prob, cut=len(tokens) >= limit)

    def _ahead(
        self, audio: Audio, parts: Sequence[Sequence[Chunk]], batches: Sequence[Sequence[int]]
    ) -> Iterator[tuple[Sequence[int], np.ndarray]]:
        """Each batch with its features, those of the next in the making: CTranslate2 works without Python's lock."""
        with ThreadPoolExecutor(1, "features") as pool:
            following = pool.submit(self._features, audio, parts[0]) if parts else None
            for number, batch in enumerate(batches):
                assert following is not None
                features = following.result()
                if number + 1 < len(parts):
                    following = pool.submit(self._features, audio, parts[number + 1])
                yield batch, features

    def _tokenizer(self, language: str, task: str) -> Any:
        from faster_whisper.tokenizer import Tokenizer

        return Tokenizer(self._model.hf_tokenizer, self.multilingual, task=task, language=language)

    def _prompt(self, tokenizer: Any, options: SpeechOptions, look: Look) -> list[int]:
        before = tokenizer.encode(" " + options.initial_prompt) if look.prompted and options.initial_prompt else []
        hotwords = options.hotwords if look.prompted else None
        return self._model.get_prompt(tokenizer, before, without_timestamps=True, hotwords=hotwords)

    @functools.cached_property
    def _numerals(self) -> list[int]:
        """The tokens that hold a digit or one of whisperX's symbols for amounts."""
        tokenizer = self._model.hf_tokenizer
        texts = tokenizer.decode_batch([[n] for n in range(tokenizer.token_to_id("<|endoftext|>"))])
        return [n for n, text in enumerate(texts) if set(text) & set("0123456789%$£")]


def looks(options: SpeechOptions) -> list[Look]:
    """The first look at every chunk, and those at a doubtful one: without the prompt, which some chunks echo, and with a
    beam; then sampled from the job's temperature upwards, as in Whisper's own fallback."""
    prompted = bool(options.initial_prompt or options.hotwords)
    steps = [round(options.temperature + TEMPERATURE_STEP * n, 2) for n in range(6)]
    sampled = [Look(1, t) for t in steps if t <= 1.0]
    return [Look(options.beam_size, 0.0, prompted, True), Look(max(CAREFUL_BEAM, options.beam_size)), *sampled]


def better(again: Decoded, before: Decoded, reasons: Sequence[str], earlier: Sequence[str]) -> bool:
    """Whether a text that is doubtful too should stand instead: it has an end and no loop, or is the likelier of two."""
    broken = {"repetitive", "cut", "too_fast"}
    now, then = bool(broken & set(reasons)), bool(broken & set(earlier))
    return (now, -again.avg_logprob) < (then, -before.avg_logprob)

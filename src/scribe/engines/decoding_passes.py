"""Decide how chunks are decoded again when their text is doubtful, and which of their texts is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from scribe.engines.base import SpeechOptions
from scribe.engines.hallucination import LASTING, Decoded, Limits, doubts, echoes, silent
from scribe.engines.missed_speech import WINDOW_S, voiced_seconds
from scribe.transcript import Chunk, Segment

# Token limit of a chunk in the first pass, for each second and in addition: without it a loop in a short chunk runs to
# 448 tokens and delays its whole batch. Text cut by this limit is decoded again without it.
TOKENS_PER_S, TOKENS_ANYWAY = 10, 24
# Half of the tokens of Whisper's text window: its own limit for 30 s.
HALF_TOKENS = 224
# Number of samples of which the likeliest is kept, and the temperature step, as in Whisper's own fallback.
BEST_OF, TEMPERATURE_STEP = 5, 0.2
CAREFUL_BEAM = 5
# How many of a group's chunks are sampled, because each may take five temperatures and in a recording of music all are
# doubtful. Those with the most speech are sampled; the others are only marked.
SAMPLED_SHARE, SAMPLED_AT_LEAST = 0.25, 8
# How often a chunk whose text fills all tokens is halved: a quarter of 30 s has room for 59 tokens a second. Text that
# fills all tokens in less than SPLIT_S seconds of speech is a loop.
HALVINGS, SPLIT_S = 2, 4.0
LOOPING = frozenset(("repetitive", "too_fast"))


@dataclass(frozen=True, slots=True)
class DecodingPass:
    """The settings of one decoding: beam search (`temperature` 0) or sampling. The number of tokens is `limited` by the
    chunk's length, else by half of the model's tokens, or by all of them (`longest`)."""

    beam_size: int
    temperature: float = 0.0
    prompted: bool = False
    limited: bool = False
    longest: bool = False


@dataclass(frozen=True, slots=True)
class Text:
    """The text decoded for a chunk, or for a part of one, and the reasons why it is doubtful."""

    chunk: Chunk
    found: Decoded
    reasons: tuple[str, ...] = ()

    @property
    def outgrown(self) -> bool:
        """Whether the speech has more text than the model's tokens can hold."""
        return "cut" in self.reasons and not LOOPING & set(self.reasons) and voiced_seconds(self.chunk) >= SPLIT_S

    @property
    def segment(self) -> Segment:
        start, end, text = round(self.chunk.start, 3), round(self.chunk.end, 3), self.found.text.strip()
        return Segment(start, end, text, avg_logprob=self.found.avg_logprob, suspect=self.reasons)


@dataclass(frozen=True, slots=True)
class Judge:
    """Decides which texts are doubtful, by the job's `limits` and for its `language`."""

    limits: Limits
    language: str

    def text(self, chunk: Chunk, found: Decoded) -> Text:
        return Text(chunk, found, doubts(found, voiced_seconds(chunk), self.limits, chunk.apart, self.language))

    def first(self, chunks: Sequence[Chunk], found: Mapping[int, Decoded]) -> list[Text]:
        """Return the texts of the first pass, without those of chunks that Whisper takes for silence."""
        echoed = echoes([found[n].text.strip() for n in range(len(chunks))])
        texts = []
        for n, chunk in enumerate(chunks):
            text = self.text(chunk, found[n])
            if found[n].text.strip() and not silent(found[n], self.limits):
                texts.append(replace(text, reasons=(*text.reasons, "repeated")) if n in echoed else text)
        return texts

    def better(self, before: Text, found: Decoded) -> Text:
        """Return the text to keep after another pass: the new one if it is not doubtful or is better, else the old one."""
        if not found.text.strip():
            return before  # a doubtful sentence can be right; only the first pass may decide that a chunk is silent
        again = self.text(before.chunk, found)
        if found.text == before.found.text and "repeated" in before.reasons:
            again = replace(again, reasons=(*again.reasons, "repeated"))
        return again if not again.reasons or better(again, before) else before

    def halved(self, before: Text, found: Sequence[tuple[Chunk, Decoded]]) -> list[Text]:
        """Return the texts of a chunk's halves; the chunk's own text when both are empty."""
        return [self.text(chunk, one) for chunk, one in found if one.text.strip()] or [before]


def passes(options: SpeechOptions) -> list[DecodingPass]:
    """Return the passes in order: the first is for every chunk, the others for doubtful ones.

    The second is without the prompt, which some chunks repeat, and with a beam; the third uses all tokens, for text that
    was cut; then sampling, from the job's temperature upwards as in Whisper's own fallback.
    """
    prompted = bool(options.initial_prompt or options.hotwords)
    steps = [round(options.temperature + TEMPERATURE_STEP * n, 2) for n in range(6)]
    careful = DecodingPass(max(CAREFUL_BEAM, options.beam_size))
    sampled = [DecodingPass(1, t) for t in steps if t <= 1.0]
    return [DecodingPass(options.beam_size, 0.0, prompted, True), careful, replace(careful, longest=True), *sampled]


def worth_repeating(texts: Sequence[Text], attempt: DecodingPass, first: DecodingPass, chunks: int) -> list[int]:
    """Return the numbers of the doubtful texts that this pass may improve. `chunks`: how many the first pass decoded."""
    doubtful = [n for n, text in enumerate(texts) if not LASTING.issuperset(text.reasons)]
    if attempt.longest:
        return [n for n in doubtful if texts[n].outgrown]
    if not attempt.temperature:
        # The same search would give the same text, except where the token limit cut it.
        same = attempt == replace(first, limited=False)
        helped = [n for n in doubtful if not same or "cut" in texts[n].reasons]
        return [
            n
            for n in helped
            if not (texts[n].outgrown and limit(texts[n].chunk.end - texts[n].chunk.start) >= HALF_TOKENS)
        ]
    # Text that fills all tokens would fill them when sampled too.
    helped = [n for n in doubtful if set(texts[n].reasons) - LASTING != {"cut"}]
    most_speech = sorted(helped, key=lambda n: -voiced_seconds(texts[n].chunk))
    return sorted(most_speech[: max(SAMPLED_AT_LEAST, int(SAMPLED_SHARE * chunks))])


def limit(seconds: float) -> int:
    """Return the token limit of the first pass for a chunk of so many seconds."""
    return TOKENS_ANYWAY + int(TOKENS_PER_S * min(seconds, WINDOW_S))


def better(again: Text, before: Text) -> bool:
    """Return whether a text that is doubtful too is better: it is complete and not a loop, or more likely."""
    broken = {"repetitive", "cut", "too_fast"}
    now, then = bool(broken & set(again.reasons)), bool(broken & set(before.reasons))
    return (now, -again.found.avg_logprob) < (then, -before.found.avg_logprob)


def halves(chunk: Chunk, quietest: Callable[[float, float], float]) -> tuple[Chunk, Chunk]:
    """Cut the chunk in two, in the longest pause of its middle half; without one, at `quietest(start, end)` of that half."""
    quarter = (chunk.end - chunk.start) / 4
    early, late = chunk.start + quarter, chunk.end - quarter
    pauses = [
        (right - left, (left + right) / 2)
        for (_, left), (right, _) in zip(chunk.speech, chunk.speech[1:], strict=False)
    ]
    inner = [(length, middle) for length, middle in pauses if length > 0 and early <= middle <= late]
    cut = max(inner)[1] if inner else quietest(early, late)
    before = tuple((start, min(end, cut)) for start, end in chunk.speech if start < cut)
    after = tuple((max(start, cut), end) for start, end in chunk.speech if end > cut)
    return Chunk(chunk.start, cut, before), Chunk(cut, chunk.end, after)

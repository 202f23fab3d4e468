"""How often a chunk is decoded, and which of its texts stands: a first look at each, others at what is doubtful. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from scribe.engines.base import SpeechOptions
from scribe.engines.hallucination import LASTING, Decoded, Limits, doubts, echoes, silent
from scribe.engines.missed_speech import WINDOW_S, voiced_seconds
from scribe.transcript import Chunk, Segment

# Tokens that a chunk may take for each second, and in any case: a loop in a short chunk would run to 448 and hold its
# whole batch. What is cut by it is decoded again without it.
TOKENS_PER_S, TOKENS_ANYWAY = 10, 24
# Half of the tokens that Whisper's text window holds: what it takes for 30 s by itself.
HALF_TOKENS = 224
# Sampled texts of which the likeliest is taken, and the step of the temperature, as in Whisper's own fallback.
BEST_OF, TEMPERATURE_STEP = 5, 0.2
CAREFUL_BEAM = 5
# Of a group's chunks, how many are sampled: each may take five temperatures, and a recording of music would be doubtful
# from end to end. Those with the most speech are tried, the others are marked as they are.
SAMPLED_SHARE, SAMPLED_AT_LEAST = 0.25, 8
# How often a chunk whose text fills all tokens is halved: a quarter of 30 s has room for 59 tokens a second. What fills
# them all in less than SPLIT_S of speech is a loop.
HALVINGS, SPLIT_S = 2, 4.0
LOOPING = frozenset(("repetitive", "too_fast"))


@dataclass(frozen=True, slots=True)
class DecodingPass:
    """One way to decode chunks: from most likely (`temperature` 0) to sampled; `limited` in tokens by their length, else by
    half of what the model has room for, or by all of it (`longest`)."""

    beam_size: int
    temperature: float = 0.0
    prompted: bool = False
    limited: bool = False
    longest: bool = False


@dataclass(frozen=True, slots=True)
class Text:
    """What was heard in a chunk, or in a part of one, and why it is doubtful."""

    chunk: Chunk
    found: Decoded
    reasons: tuple[str, ...] = ()

    @property
    def outgrown(self) -> bool:
        """Whether more was said than there was room for."""
        return "cut" in self.reasons and not LOOPING & set(self.reasons) and voiced_seconds(self.chunk) >= SPLIT_S

    @property
    def segment(self) -> Segment:
        start, end, text = round(self.chunk.start, 3), round(self.chunk.end, 3), self.found.text.strip()
        return Segment(start, end, text, avg_logprob=self.found.avg_logprob, suspect=self.reasons)


@dataclass(frozen=True, slots=True)
class Judge:
    """Tells which texts are doubtful, by the job's `limits` and for its `language`."""

    limits: Limits
    language: str

    def text(self, chunk: Chunk, found: Decoded) -> Text:
        return Text(chunk, found, doubts(found, voiced_seconds(chunk), self.limits, chunk.apart, self.language))

    def first(self, chunks: Sequence[Chunk], found: Mapping[int, Decoded]) -> list[Text]:
        """The texts of a first look, without those of chunks that Whisper takes for silence."""
        echoed = echoes([found[n].text.strip() for n in range(len(chunks))])
        texts = []
        for n, chunk in enumerate(chunks):
            text = self.text(chunk, found[n])
            if found[n].text.strip() and not silent(found[n], self.limits):
                texts.append(replace(text, reasons=(*text.reasons, "repeated")) if n in echoed else text)
        return texts

    def better(self, before: Text, found: Decoded) -> Text:
        """What stands after another look at a doubtful text: the new one where it is beyond doubt, or better."""
        if not found.text.strip():
            return before  # a doubtful sentence can be a true one; silence is for the first look to tell
        again = self.text(before.chunk, found)
        if found.text == before.found.text and "repeated" in before.reasons:
            again = replace(again, reasons=(*again.reasons, "repeated"))
        return again if not again.reasons or better(again, before) else before

    def halved(self, before: Text, found: Sequence[tuple[Chunk, Decoded]]) -> list[Text]:
        """The texts of a chunk's halves in place of its own; that one, when nothing was heard in them."""
        return [self.text(chunk, one) for chunk, one in found if one.text.strip()] or [before]


def looks(options: SpeechOptions) -> list[DecodingPass]:
    """The first look at every chunk, and those at a doubtful one: without the prompt, which some chunks echo, and with a
    beam; what was cut, with all tokens; then sampled from the job's temperature upwards, as in Whisper's own fallback."""
    prompted = bool(options.initial_prompt or options.hotwords)
    steps = [round(options.temperature + TEMPERATURE_STEP * n, 2) for n in range(6)]
    careful = DecodingPass(max(CAREFUL_BEAM, options.beam_size))
    sampled = [DecodingPass(1, t) for t in steps if t <= 1.0]
    return [DecodingPass(options.beam_size, 0.0, prompted, True), careful, replace(careful, longest=True), *sampled]


def worth(texts: Sequence[Text], look: DecodingPass, first: DecodingPass, chunks: int) -> list[int]:
    """The numbers of the doubtful texts that this look may help. `chunks`: how many the first look was at."""
    doubtful = [n for n, text in enumerate(texts) if not LASTING.issuperset(text.reasons)]
    if look.longest:
        return [n for n in doubtful if texts[n].outgrown]
    if not look.temperature:
        # The same search once more would say the same, except where it was cut.
        same = look == replace(first, limited=False)
        helped = [n for n in doubtful if not same or "cut" in texts[n].reasons]
        return [
            n
            for n in helped
            if not (texts[n].outgrown and limit(texts[n].chunk.end - texts[n].chunk.start) >= HALF_TOKENS)
        ]
    # What fills all tokens fills them sampled too.
    helped = [n for n in doubtful if set(texts[n].reasons) - LASTING != {"cut"}]
    most_speech = sorted(helped, key=lambda n: -voiced_seconds(texts[n].chunk))
    return sorted(most_speech[: max(SAMPLED_AT_LEAST, int(SAMPLED_SHARE * chunks))])


def limit(seconds: float) -> int:
    """The tokens that the first look at so long a chunk may take."""
    return TOKENS_ANYWAY + int(TOKENS_PER_S * min(seconds, WINDOW_S))


def better(again: Text, before: Text) -> bool:
    """Whether a text that is doubtful too should stand instead: it has an end and no loop, or is the likelier of two."""
    broken = {"repetitive", "cut", "too_fast"}
    now, then = bool(broken & set(again.reasons)), bool(broken & set(before.reasons))
    return (now, -again.found.avg_logprob) < (then, -before.found.avg_logprob)


def halves(chunk: Chunk, quietest: Callable[[float, float], float]) -> tuple[Chunk, Chunk]:
    """The chunk in two, cut in the longest pause of its middle half; else where `quietest(start, end)` of it says."""
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

"""From which likeness on is a speaker named? Measured on voices of your own: `python3 builder/calibrate.py VOICES`.

VOICES is a folder with one sub-folder a person, named as you like, holding recordings of that person alone: two or more
on different days and microphones (a single one is cut in halves), half a minute of speech and more in all, in any format
that the worker reads. Three people are the least that tell something; ten make a number to trust.

The speaker model is the worker's own, as the environment configures it. Prints a table and the two settings to make, and
writes calibration.json and calibration.svg into --out. Nothing leaves the machine.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "builder")]

from calibration import MARGINS, THRESHOLDS, Talks, certain_below, rates, recommended  # noqa: E402
from scribe import settings as settings_module  # noqa: E402
from scribe.audio.decode import Audio, decode  # noqa: E402
from scribe.errors import AudioError, ModelError  # noqa: E402
from scribe.models.loader import Models  # noqa: E402
from scribe.models.model_set import ModelSet  # noqa: E402
from scribe.speakers.ecapa import Voice, centroid, cosine  # noqa: E402
from scribe.transcript import Span  # noqa: E402

TALK_S = 5.0
LONGEST_S = 1800.0

Spoken = list[tuple[Voice, list[Voice]]]
"""One person's recordings: each as a voice, and its talks as voices."""


class Unusable(Exception):
    """The folder does not hold what is needed; the message says what is missing."""


def measured(folder: Path, models: Models, talk_s: float = TALK_S) -> dict[str, Any]:
    """The whole calibration of a folder of voices, as it is written to calibration.json. Raises Unusable."""
    files = recordings(folder)
    people = {name: _heard(own, models, talk_s) for name, own in files.items()}
    people = {name: spoken for name, spoken in people.items() if spoken}
    if len(people) < 2:
        raise Unusable(f"{folder} holds {len(people)} people with two talks of speech; at least two are needed")
    talks = Talks.of(trials(people))
    threshold, margin = recommended(talks)
    speaker = models.model_set.speaker
    return {
        "model": speaker.location.identity,
        "people": len(people),
        "recordings": sum(len(files[name]) for name in people),
        "talks": len(talks.own),
        "talk_seconds": talk_s,
        "threshold": threshold,
        "margin": margin,
        "at_recommended": _told(talks, threshold, margin),
        "before": {"threshold": speaker.threshold, "margin": speaker.margin, "calibrated": speaker.calibrated}
        | _told(talks, speaker.threshold, speaker.margin),
        "by_threshold": [{"threshold": float(t)} | _told(talks, t, margin) for t in THRESHOLDS],
        "by_margin": [{"margin": float(m)} | _told(talks, threshold, m) for m in MARGINS],
    }


def recordings(folder: Path) -> dict[str, list[Path]]:
    """{person: files}: the sub-folders and what lies in them, hidden files and texts beside. Raises Unusable."""
    if not folder.is_dir():
        raise Unusable(f"{folder} is no folder; make one with a sub-folder of recordings for each person")
    people = {
        person.name: sorted(f for f in person.iterdir() if f.is_file() and f.name[0] != "." and f.suffix not in TEXTS)
        for person in sorted(folder.iterdir())
        if person.is_dir() and person.name[0] != "."
    }
    found = {name: files for name, files in people.items() if files}
    if len(found) < 2:
        raise Unusable(
            f"{folder} holds recordings of {len(found)} people, each in a sub-folder; at least two are needed"
        )
    return found


TEXTS = {".json", ".txt", ".md", ".csv"}


def _heard(files: Sequence[Path], models: Models, talk_s: float) -> Spoken:
    """A person's recordings as voices. A single recording counts as two: enrolled by its halves in turn."""
    encoder, parts = models.encoder(), []
    with tempfile.TemporaryDirectory() as scratch:
        for file in files:
            try:
                audio = decode(file, Path(scratch), max_seconds=LONGEST_S).channels[0]
            except AudioError as error:
                print(f"left out: {file} ({error.message})", file=sys.stderr)
                continue
            parts.append((audio, cut(_speech(audio, models), talk_s)))
        if len(parts) == 1:
            [(audio, talks)] = parts
            parts = [(audio, talks[: len(talks) // 2]), (audio, talks[len(talks) // 2 :])]
        spoken = [
            (encoder.voice(audio, [span for talk in talks for span in talk]), [encoder.voice(audio, t) for t in talks])
            for audio, talks in parts
        ]
    known = [(whole, [talk for talk in talks if talk]) for whole, talks in spoken if whole]
    return known if len(known) > 1 else []


def _speech(audio: Audio, models: Models) -> list[Span]:
    chunks = models.detector("silero").chunks(audio, onset=0.5, offset=0.35, chunk_size=30)
    return [span for chunk in chunks for span in chunk.speech]


def cut(speech: Sequence[Span], talk_s: float) -> list[list[Span]]:
    """Stretches of speech -> talks of `talk_s` seconds each, the stretches cut where a talk is full; the rest is left out."""
    talks: list[list[Span]] = []
    talk, room = [], talk_s
    for start, end in speech:
        while end - start >= room:
            talks.append([*talk, (start, start + room)])
            start, talk, room = start + room, [], talk_s
        if end > start:
            talk.append((start, end))
            room -= end - start
    return talks


def trials(people: Mapping[str, Spoken]) -> list[tuple[float, list[float]]]:
    """For each talk: (cosine with its person's voice made of the other recordings, cosines with everybody else's)."""
    whole = {name: _pooled([voice for voice, _ in spoken]) for name, spoken in people.items()}
    found = []
    for name, spoken in people.items():
        for number, (_, talks) in enumerate(spoken):
            own = _pooled([voice for other, (voice, _) in enumerate(spoken) if other != number])
            for talk in talks:
                others = [cosine(talk.vector, vector) for other, vector in whole.items() if other != name]
                found.append((cosine(talk.vector, own), others))
    return found


def _pooled(voices: Sequence[Voice]) -> tuple[float, ...]:
    """Several recordings of one name, pooled as the worker pools them."""
    return centroid([voice.vector for voice in voices], [voice.seconds for voice in voices])


def _told(talks: Talks, threshold: float, margin: float) -> dict[str, float]:
    found = rates(talks, float(threshold), float(margin))
    return {name: round(getattr(found, name), 4) for name in ("unnamed", "misnamed", "stranger_named")}


def report(found: Mapping[str, Any]) -> str:
    """The table for people, and what to set."""
    threshold, margin = found["threshold"], found["margin"]
    lines = [
        f"{found['people']} people, {found['recordings']} recordings, {found['talks']} talks of {found['talk_seconds']:g} s;"
        f" speaker model {found['model']}",
        "",
        f"{'threshold':>9} {'margin':>6} {'known, no name':>15} {'known, wrong name':>18} {'stranger named':>15}",
    ]
    near = [
        row for row in found["by_threshold"] if round(abs(row["threshold"] - threshold), 2) in (0.0, 0.05, 0.1, 0.2)
    ]
    rows = [row | {"margin": margin, "mark": "recommended" if row["threshold"] == threshold else ""} for row in near]
    rows.append(found["before"] | {"mark": "set now" + ("" if found["before"]["calibrated"] else ", uncalibrated")})
    lines += [
        f"{row['threshold']:9.2f} {row['margin']:6.2f} {row['unnamed']:14.1%}  {row['misnamed']:17.1%} "
        f"{row['stranger_named']:15.1%}  {row['mark']}".rstrip()
        for row in rows
    ]
    least = certain_below(found["talks"])
    lines += [
        "",
        f"With {found['talks']} talks, a rate of 0 means below {least:.1%} (95 % certainty), for voices like these.",
    ]
    if found["people"] < 5:
        lines.append(f"{found['people']} people say little about strangers: bring more voices before you rely on this.")
    return "\n".join([*lines, "", f"SPEAKER_THRESHOLD={threshold:g}", f"SPEAKER_MARGIN={margin:g}"])


def plot(found: Mapping[str, Any], file: Path) -> None:
    """False rejects and false accepts against threshold and margin, the recommended pair marked."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams |= {"svg.hashsalt": "calibration", "svg.fonttype": "none"}
    import matplotlib.pyplot as plt

    shown = {
        "unnamed": "known voice without a name",
        "stranger_named": "stranger named",
        "misnamed": "known, wrong name",
    }
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), sharey=True)
    for axis, (key, rows) in zip(
        axes, (("threshold", found["by_threshold"]), ("margin", found["by_margin"])), strict=True
    ):
        for name, label in shown.items():
            axis.plot([row[key] for row in rows], [100 * row[name] for row in rows], label=label)
        axis.axvline(found[key], color="black", linestyle="--", linewidth=0.8)
        other = "margin" if key == "threshold" else "threshold"
        axis.set_xlabel(f"{key} (chosen: {found[key]:g}), at a {other} of {found[other]:g}")
    axes[0].set_ylabel("% of talks")
    axes[0].legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(file, metadata={"Date": None})
    plt.close(figure)


def calibrate(voices: Path, out: Path, talk_s: float = TALK_S) -> dict[str, Any]:
    """Measure the configured speaker model on the voices, write calibration.json and calibration.svg into `out`, print
    the table. Raises Unusable and InvalidSettings."""
    settings = settings_module.load()
    token = settings.hf_token.get_secret_value() if settings.hf_token else None
    found = measured(voices, Models(ModelSet(settings), settings.whisperx_device, token=token), talk_s)
    out.mkdir(parents=True, exist_ok=True)
    (out / "calibration.json").write_text(json.dumps(found) + "\n", encoding="utf-8")
    plot(found, out / "calibration.svg")
    print(f"{report(found)}\n\nWritten to {out}: calibration.json, calibration.svg")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """0; 1 where a model is not to be had, 2 for a folder that cannot be used, 78 for an invalid setting."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("voices", type=Path)
    parser.add_argument("--talk", type=float, default=TALK_S, help="seconds of speech that a speaker is named by")
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "calibration")
    options = parser.parse_args(arguments)
    os.environ["PYANNOTE_METRICS_ENABLED"] = "0"
    warnings.filterwarnings("ignore")
    logging.disable(logging.INFO)
    try:
        calibrate(options.voices, options.out, options.talk)
    except settings_module.InvalidSettings as error:
        print(error, file=sys.stderr)
        return 78
    except Unusable as error:
        print(error, file=sys.stderr)
        return 2
    except ModelError as error:
        print(error.message, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

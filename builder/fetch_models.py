"""Put a model set's models into the set's own folder, where the worker looks first: no download at run time.

    python3 builder/fetch_models.py 0|1|<model set> [--aligners en,de] [--token-file PATH]

The Dockerfile's PRELOAD_MODELS and PRELOAD_ALIGNERS. Speech, diarization and speaker models and NLTK's sentence tables are
fetched; alignment models are those of the languages that are named: 0.4 to 3.9 GB each, and which ones are needed depends
on the recordings. The others are downloaded when they are first needed, and belong on a volume.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

MODELS = Path(__file__).resolve().parents[1] / "models"
sys.path.insert(0, str(MODELS.parent / "src"))


def wanted(folder: Path, model_set: Mapping[str, object], languages: Sequence[str] = ()) -> list[tuple[str, str]]:
    """(kind, name, with @revision where the set pins one) of the models that the set names and its folder does not hold.

    Raises KeyError for a language that the set has no aligner for.
    """
    speaker, aligners = model_set["speaker"], model_set["aligners"]
    assert isinstance(speaker, Mapping)
    assert isinstance(aligners, Mapping)
    named = [
        ("speech", model_set["whisper"]),
        ("diarization", model_set["diarization"]),
        ("speaker", speaker["source"]),
    ]
    named += [("aligner", aligners[language]) for language in languages]
    return [(kind, str(name)) for kind, name in named if not (folder / str(name).partition("@")[0]).is_dir()]


def fetch(kind: str, name: str, folder: Path, token: str | None) -> None:
    """Download one model into the set's folder, its bytes checked. Raises what the hub's library raises, and leaves no half
    a model behind."""
    from scribe.models import published
    from scribe.models import torchaudio_bundles as bundles
    from scribe.models.hub import bring
    from scribe.models.staging import FOLDER

    name, _, revision = name.partition("@")
    if kind == "aligner" and (file := bundles.weights(name)):
        published.bring(file, folder / "checkpoints")
        shutil.rmtree(folder / "checkpoints" / FOLDER)
        return
    target = folder / name
    repository = f"Systran/faster-whisper-{name}" if kind == "speech" and "/" not in name else name
    part, cache = target.with_name(f"{target.name}.part"), target.with_name(f"{target.name}.cache")
    snapshot = bring(repository, revision or None, cache, token, kind)
    for file in sorted(p for p in snapshot.rglob("*") if p.is_file()):
        place = part / file.relative_to(snapshot)
        place.parent.mkdir(parents=True, exist_ok=True)
        os.link(file.resolve(), place)  # not moved: files with the same bytes are one in a cache
    (part / ".revision").write_text(snapshot.name, "utf-8")
    shutil.rmtree(cache)
    part.rename(target)
    settle(target)


def fetch_sentence_tables(folder: Path) -> None:
    """Download NLTK's tables of where sentences end (4 MB). Raises what punkt.bring raises."""
    from scribe.models import punkt
    from scribe.models.staging import FOLDER

    punkt.bring(folder / "nltk_data")
    shutil.rmtree(folder / "nltk_data" / "tokenizers" / FOLDER)


def settle(folder: Path) -> None:
    """Let SpeechBrain's hyperparams.yaml name this folder: as downloaded it sends its loader back to the hub for the weights."""
    file = folder / "hyperparams.yaml"
    if file.is_file():
        text = re.sub(
            r"^pretrained_path:.*$", f"pretrained_path: {folder}", file.read_text("utf-8"), flags=re.MULTILINE
        )
        file.write_text(text, "utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("which", help="0 for nothing, 1 for the default set, or a model set's name")
    parser.add_argument("--aligners", default="", help="languages whose alignment models to fetch, comma-separated")
    parser.add_argument("--token-file", type=Path, help="a file with the Hugging Face token, if there is one")
    options = parser.parse_args()
    if options.which == "0":
        return 0
    folder = MODELS / ("default" if options.which == "1" else options.which)
    if not (folder / "model_set.json").is_file():
        parser.error(f"there is no models/{folder.name}/model_set.json")
    has_token = options.token_file is not None and options.token_file.is_file()
    token = options.token_file.read_text("utf-8").strip() or None if has_token else None
    model_set = json.loads((folder / "model_set.json").read_text("utf-8"))
    languages = [language.strip() for language in options.aligners.split(",") if language.strip()]
    if unknown := [language for language in languages if language not in model_set["aligners"]]:
        parser.error(f"models/{folder.name} names no alignment model for {', '.join(unknown)}")
    missing = wanted(folder, model_set, languages)
    if missing and not (folder / "nltk_data").is_dir():
        print("Fetching NLTK's sentence tables", flush=True)
        fetch_sentence_tables(folder)
    for kind, name in missing:
        print(f"Fetching the {kind} model {name}", flush=True)
        fetch(kind, name, folder, token)
    return 0


if __name__ == "__main__":
    sys.exit(main())

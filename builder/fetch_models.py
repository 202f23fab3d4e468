"""Put a model set's hub models into the set's own folder, where the worker looks first: no download at run time.

    python3 builder/fetch_models.py 0|1|<model set> [--token-file PATH]

The Dockerfile's PRELOAD_MODELS. Speech, diarization and speaker models are fetched; alignment models are not, as they
depend on the recording's language: they come from the hub on first use and belong on a volume.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

MODELS = Path(__file__).resolve().parents[1] / "models"


def wanted(folder: Path, model_set: Mapping[str, object]) -> dict[str, str]:
    """{kind: hub name, with @revision where the set pins one} of the models that the set names and its folder does not hold."""
    speaker = model_set["speaker"]
    assert isinstance(speaker, Mapping)
    named = {"speech": model_set["whisper"], "diarization": model_set["diarization"], "speaker": speaker["source"]}
    return {kind: str(name) for kind, name in named.items() if not (folder / str(name).partition("@")[0]).is_dir()}


def fetch(kind: str, name: str, target: Path, token: str | None) -> None:
    """Download one model, its bytes checked. Raises what the hub's library raises, and leaves no half a folder behind."""
    sys.path.insert(0, str(MODELS.parent / "src"))
    from scribe.hub import SPEECH_FILES, bring

    name, _, revision = name.partition("@")
    repository = f"Systran/faster-whisper-{name}" if kind == "speech" and "/" not in name else name
    part, cache = target.with_name(f"{target.name}.part"), target.with_name(f"{target.name}.cache")
    only = SPEECH_FILES if kind == "speech" else ()
    snapshot = bring(repository, revision or None, cache, token, only)
    for file in sorted(p for p in snapshot.rglob("*") if p.is_file()):
        place = part / file.relative_to(snapshot)
        place.parent.mkdir(parents=True, exist_ok=True)
        file.resolve().replace(place)
    (part / ".revision").write_text(snapshot.name, "utf-8")
    shutil.rmtree(cache)
    part.rename(target)
    settle(target)


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
    parser.add_argument("--token-file", type=Path, help="a file with the Hugging Face token, if there is one")
    options = parser.parse_args()
    if options.which == "0":
        return 0
    folder = MODELS / ("default" if options.which == "1" else options.which)
    if not (folder / "model_set.json").is_file():
        parser.error(f"there is no models/{folder.name}/model_set.json")
    has_token = options.token_file is not None and options.token_file.is_file()
    token = options.token_file.read_text("utf-8").strip() or None if has_token else None
    for kind, name in wanted(folder, json.loads((folder / "model_set.json").read_text("utf-8"))).items():
        print(f"Fetching the {kind} model {name}", flush=True)
        fetch(kind, name, folder / name.partition("@")[0], token)
    return 0


if __name__ == "__main__":
    sys.exit(main())

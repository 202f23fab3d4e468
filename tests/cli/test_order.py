"""What the options, the recordings' names and the state file become."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.person import SOUND, Desk, Hand, answered

from scribe.cli.answer import place_next_to
from scribe.cli.order import order_of
from scribe.cli.recording import Place, gather
from scribe.cli.state import STATE_FILE, opened
from scribe.errors import InvalidInput


def test_the_options_of_the_command_become_the_jobs_own(desk: Desk) -> None:
    with Hand(desk.platform, answered) as hand:
        asked = (
            "--diarize --speakers 2 -f srt,html -f srt --set beam_size=3 --set vad_method=silero --prompt Hello".split()
        )
        assert desk.run(desk.recording("a.mp3"), *asked) == 0
    assert hand.jobs[0]["input"] == {
        "audio_base64": SOUND,
        "inline": "full",
        "formats": ["json"],
        "diarization": True,
        "align_output": True,
        "num_speakers": 2,
        "beam_size": 3,
        "vad_method": "silero",
        "initial_prompt": "Hello",
    }
    assert {file.name for file in desk.out.iterdir()} == {"a.html", "a.json", "a.mp3", "a.srt", STATE_FILE}


def test_what_stands_beside_the_input_goes_beside_it() -> None:
    own = {"accessId": "id", "accessSecret": "secret", "bucketName": "bucket", "endpointUrl": "https://s3.example.org"}
    order = order_of(settings=[f"s3Config={json.dumps(own)}"])
    assert order.job_level == {"s3Config": own}
    assert "s3Config" not in order.options


def test_a_folder_keeps_its_shape_and_recordings_of_one_name_their_endings(desk: Desk) -> None:
    for name in ("day/a.mp3", "day/a.wav", "day/b/c.ogg", "day/notes.txt", "day/.hidden.mp3"):
        desk.recording(name)
    assert [r.name for r in gather([str(desk.folder / "day")], {})] == ["a", "a.wav", "b/c"]


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["mp3", "wav"]), st.integers(0, 3)), max_size=12),
    st.integers(0, 12),
)
def test_names_are_never_shared_and_never_change_between_runs(parts: list[tuple[str, str, int]], first: int) -> None:
    urls = [f"https://host/{folder}/talk-{name}.{ending}" for name, ending, folder in parts]
    once = {r.source: r.name for r in gather(urls[:first], {})}
    again = {r.source: r.name for r in gather(urls, once)}
    assert len(set(again.values())) == len(again) == len(set(urls))
    assert once.items() <= again.items()


def test_a_signed_address_leaves_its_signature_nowhere() -> None:
    signed = Place.of("https://host/talk.mp3?X-Amz-Signature=0f1e2d")
    assert signed.source.startswith("https://host/talk.mp3?")
    assert "0f1e2d" not in signed.source
    assert signed.source != Place.of("https://host/talk.mp3?id=2").source


def test_a_damaged_state_file_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / STATE_FILE).write_text("{")
    with pytest.raises(InvalidInput, match="state file"), opened(tmp_path):
        pass
    assert (tmp_path / STATE_FILE).read_text() == "{"


def test_two_clients_never_work_in_one_folder(tmp_path: Path) -> None:
    with opened(tmp_path), pytest.raises(InvalidInput, match="another client"), opened(tmp_path):
        pass
    with opened(tmp_path):
        pass


@pytest.mark.parametrize("first", ["talk", "talk.mp3"])
def test_the_page_that_is_written_second_plays_its_own_recording_too(tmp_path: Path, first: str) -> None:
    recordings = {"talk": tmp_path / "monday" / "talk.mp3", "talk.mp3": tmp_path / "tuesday" / "talk.mp3"}
    out = tmp_path / "out"
    out.mkdir()
    for name, recording in recordings.items():
        recording.parent.mkdir()
        recording.write_text(f"ID3 {name}")
    for _ in "twice":
        for name in sorted(recordings, key=lambda name: name != first):
            beside = place_next_to(out / f"{name}.html", recordings[name])
            assert (out / beside).read_bytes() == recordings[name].read_bytes()
    assert len(list(out.iterdir())) == 2, "what lies there already is not copied again"

"""CONCURRENCY=2: the next recording is fetched and decoded while the GPU works; jobs keep to themselves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .site import Site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with Site(tmp_path) as running:
        yield running


def test_the_next_job_is_fetched_and_decoded_while_one_is_on_the_gpu(site: Site) -> None:
    with site.worker(CONCURRENCY="2") as worker:
        first = site.held("transcribe", worker)
        second = site.submit()
        site.wait_for(
            lambda: any(p["stage"] not in ("fetch", "decode") for p in second.progress) or second.final, worker
        )
        assert not first.final
        site.release("transcribe")
        site.finished(first, worker)
        site.finished(second, worker)
    for record in (first, second):
        site.assert_delivered_once(record)
    site.assert_empty()


def test_a_cancel_of_one_does_not_touch_the_other(site: Site) -> None:
    with site.worker(CONCURRENCY="2") as worker:
        first = site.held("transcribe", worker)
        second = site.submit("hold diarize")
        site.wait_for((site.stations / "diarize.at").exists, worker)
        site.platform.cancel(first.id)
        site.release("diarize")
        site.finished(second, worker)
        assert first.status == "CANCELLED"
        site.finished(site.submit(), worker)
    site.assert_empty()


def test_what_is_handed_out_and_is_no_job_ends_neither_the_worker_nor_its_neighbour(site: Site) -> None:
    with site.worker(CONCURRENCY="2") as worker:
        broken = site.finished(site.submit(), worker)
        del broken.delivery["id"]
        site.platform.deliver_again(broken.id)
        site.finished(site.submit(), worker)
        site.finished(site.submit(), worker)
        # With one place free the SDK asks for a single job, and reports it in its own words.
        told = ("without an id", "missing field(s): id")
        site.wait_for(lambda: any(words in worker.text() for words in told), worker)
    site.assert_empty()

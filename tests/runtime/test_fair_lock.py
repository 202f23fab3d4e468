"""The GPU's queue: first come, first served; a job that stops waiting leaves no hole; nobody is forgotten."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scribe.runtime.fair_lock import FairLock
from scribe.runtime.monitor import Monitor

SOON_S = 20.0


class Left(Exception):
    """A waiter was told to go."""


class Waiter(threading.Thread):
    """Waits for its turn, writes its number down, and holds the turn until it is let go."""

    def __init__(self, lock: FairLock, number: int, served: list[int]) -> None:
        super().__init__(daemon=True)
        self._lock = lock
        self._number = number
        self._served = served
        self.told = threading.Event()
        self.held = threading.Event()
        self.release = threading.Event()

    def _check(self) -> None:
        if self.told.is_set():
            raise Left

    def run(self) -> None:
        try:
            with self._lock.turn(Monitor(self._check)):
                self._served.append(self._number)
                self.held.set()
                self.release.wait(SOON_S)
        except Left:
            pass


def until(true: Callable[[], bool]) -> None:
    """Wait for another thread; fail when it never comes."""
    pause, tries = threading.Event(), int(SOON_S / 0.001)
    assert any(true() or pause.wait(0.001) for _ in range(tries))


def queued(lock: FairLock, count: int) -> list[Waiter]:
    """A holder, number 0, and `count` waiters behind it, their arrival in the order of their numbers."""
    served: list[int] = []
    waiters = [Waiter(lock, number, served) for number in range(count + 1)]
    for number, waiter in enumerate(waiters):
        waiter.start()
        if number == 0:
            assert waiter.held.wait(SOON_S)
        until(lambda n=number: lock.waiting == n)
    return waiters


@given(st.lists(st.booleans(), min_size=1, max_size=8), st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_the_order_of_service_is_the_order_of_arrival_whoever_leaves(stays: list[bool], dice: object) -> None:
    lock = FairLock(check_s=0.001)
    waiters = queued(lock, len(stays))
    leaving = [w for w, stay in zip(waiters[1:], stays, strict=True) if not stay]
    dice.shuffle(leaving)  # type: ignore[attr-defined]
    for waiter in leaving:
        waiter.told.set()
    until(lambda: lock.waiting == sum(stays))
    for waiter in waiters:
        waiter.release.set()
    for waiter in waiters:
        waiter.join(SOON_S)
    assert waiters[0]._served == [0, *(n for n, stay in enumerate(stays, 1) if stay)]
    assert not lock.taken


@given(st.lists(st.booleans(), min_size=2, max_size=6))
@settings(max_examples=25, deadline=None, derandomize=True)
def test_waiters_that_leave_while_the_turn_changes_hands_lose_nobody_s_turn(stays: list[bool]) -> None:
    """Told to leave and let in at once: whichever comes first, the next one is served and never two at a time."""
    lock = FairLock(check_s=0.0005)
    waiters = queued(lock, len(stays))
    for waiter in waiters[1:]:
        waiter.release.set()
    for waiter, stay in zip(waiters[1:], stays, strict=True):
        if not stay:
            threading.Thread(target=waiter.told.set).start()
    waiters[0].release.set()
    for waiter in waiters:
        waiter.join(SOON_S)
    assert not any(w.is_alive() for w in waiters)
    served = waiters[0]._served
    assert served == sorted(served)
    assert {n for n, stay in enumerate(stays, 1) if stay} <= set(served)
    assert not lock.taken


def test_a_turn_begins_when_the_one_before_it_ends_and_not_at_the_next_look() -> None:
    lock = FairLock(check_s=24 * 3600.0)
    first, second, third = queued(lock, 2)
    first.release.set()
    assert second.held.wait(SOON_S)
    assert not third.held.is_set()
    second.release.set()
    assert third.held.wait(SOON_S)
    third.release.set()
    third.join(SOON_S)


def test_whoever_need_not_wait_is_not_checked() -> None:
    lock = FairLock()

    def check() -> None:
        raise Left

    with lock.turn(Monitor(check)):
        assert lock.taken
        with pytest.raises(Left), lock.turn(Monitor(check)):
            raise AssertionError("two had the turn")
        assert lock.taken
    assert not lock.taken


def test_a_block_that_raises_gives_its_turn_on() -> None:
    lock = FairLock(check_s=24 * 3600.0)
    with pytest.raises(ValueError), lock.turn():
        raise ValueError
    with lock.turn():
        assert lock.waiting == 0


def test_no_two_have_the_turn_and_nobody_waits_for_ever() -> None:
    lock = FairLock(check_s=24 * 3600.0)
    inside: list[int] = []
    most: list[int] = []

    def often() -> None:
        for _ in range(200):
            with lock.turn():
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=often, daemon=True) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(most) == 1200
    assert max(most) == 1

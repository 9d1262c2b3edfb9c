from __future__ import annotations

import asyncio
import gc
import socket
import threading
import warnings
from collections.abc import AsyncIterator
from typing import Any

import pytest

from django_workflow.core import idle_loop as module
from django_workflow.core.exceptions import InvalidOptionError
from django_workflow.core.idle_loop import IdleLoop, give_back, idle_loop


@pytest.fixture
def loop() -> Any:
    made = IdleLoop()
    yield made
    made.close()


def kept_loop() -> Any:
    """Return the loop that this thread keeps for its next pass."""
    loop = idle_loop()
    give_back(loop)
    return loop


def test_loop_without_work_is_idle_at_once(loop: IdleLoop) -> None:
    assert loop.run_until_idle()


def test_loop_runs_until_nothing_is_ready(loop: IdleLoop) -> None:
    async def work() -> None:
        for _ in range(3):
            await asyncio.sleep(0)

    task = loop.create_task(work())

    assert loop.run_until_idle()
    assert task.done()


def test_loop_that_is_idle_asks_for_more(loop: IdleLoop) -> None:
    given = [1, 2]
    futures = [loop.create_future(), loop.create_future()]

    def more() -> bool:
        if not given:
            return False
        futures[2 - len(given)].set_result(given.pop(0))
        return True

    async def both() -> list[int]:
        return [await future for future in futures]

    loop.on_idle = more
    task = loop.create_task(both())

    assert loop.run_until_idle()
    assert task.result() == [1, 2]


def test_loop_that_is_stopped_was_not_idle(loop: IdleLoop) -> None:
    loop.call_soon(loop.stop)

    assert not loop.run_until_idle()
    assert loop.run_until_idle()


def test_timer_is_waited_for(loop: IdleLoop) -> None:
    fired: list[int] = []
    loop.call_later(0.01, fired.append, 1)

    loop.run_until_idle()

    assert fired == [1]


def test_cancelled_timer_is_not_waited_for(loop: IdleLoop) -> None:
    fired: list[int] = []
    loop.call_later(0.9, fired.append, 1).cancel()

    loop.run_until_idle()

    assert fired == []


def test_job_is_waited_for(loop: IdleLoop) -> None:
    asked: list[bool] = []
    release = threading.Event()

    def more() -> bool:
        asked.append(release.is_set())
        return False

    loop.on_idle = more
    threading.Timer(0.01, release.set).start()
    future = loop.run_in_executor(None, release.wait, 5)

    loop.run_until_idle()

    assert future.result() is True
    assert asked == [True]


def test_job_that_raises_is_waited_for_no_longer(loop: IdleLoop) -> None:
    future = loop.run_in_executor(None, int, "no number")

    loop.run_until_idle()

    assert isinstance(future.exception(), ValueError)
    assert loop.is_idle()


def test_watched_socket_is_waited_for(loop: IdleLoop) -> None:
    here, there = socket.socketpair()
    with here, there:
        here.setblocking(False)
        task = loop.create_task(loop.sock_recv(here, 9))
        threading.Timer(0.01, there.send, [b"hello"]).start()

        assert loop.run_until_idle()
        assert task.result() == b"hello"


@pytest.mark.parametrize("seconds", [1.5, 5, 86_400])
def test_timer_of_more_than_a_second_is_refused(loop: IdleLoop, seconds: float) -> None:
    with pytest.raises(InvalidOptionError, match=rf"A timer of {seconds:g} s .* ctx\.sleep"):
        loop.call_later(seconds, print)
    with pytest.raises(InvalidOptionError, match=r"ctx\.sleep"):
        loop.call_at(loop.time() + seconds, print)


def test_wait_for_a_source_that_stays_silent_ends(
    loop: IdleLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LONGEST_WAIT_SECONDS", 0.01)
    here, there = socket.socketpair()
    with here, there:
        loop.add_reader(here, print)

        assert not loop.run_until_idle()
        assert loop.is_stuck
        loop.remove_reader(here)


async def counting() -> AsyncIterator[int]:
    yield 1
    yield 2


def begin_and_keep(loop: IdleLoop, kept: list[Any]) -> None:
    async def begin() -> None:
        kept.append(counting())
        await anext(kept[-1])

    loop.create_task(begin())
    loop.run_until_idle()


def test_generators_are_closed_and_the_loop_stays_usable(loop: IdleLoop) -> None:
    kept: list[Any] = []

    begin_and_keep(loop, kept)
    loop.close_generators()
    begin_and_keep(loop, kept)
    loop.close_generators()

    assert [generator.ag_frame for generator in kept] == [None, None]


def test_loop_is_used_again_by_the_next_pass_of_its_thread() -> None:
    first = kept_loop()

    assert idle_loop() is first
    give_back(first)


def test_pass_inside_a_pass_gets_another_loop() -> None:
    outer = idle_loop()
    inner = idle_loop()
    give_back(inner)
    give_back(outer)

    assert inner is not outer
    assert idle_loop() is inner
    assert outer.is_closed()
    give_back(inner)


def test_loop_with_something_left_is_closed() -> None:
    loop = idle_loop()

    give_back(loop, is_clean=False)

    assert loop.is_closed()


def test_loop_that_got_stuck_is_closed() -> None:
    loop = idle_loop()

    loop.stop_stuck()
    give_back(loop)

    assert loop.is_closed()


def test_loop_that_somebody_has_closed_is_replaced() -> None:
    first = kept_loop()
    first.close()

    second = idle_loop()

    assert second is not first
    give_back(second)


def test_loop_of_a_thread_that_has_ended_is_closed_without_a_word() -> None:
    with warnings.catch_warnings():
        # What other tests have left behind is not asked about here.
        warnings.simplefilter("ignore")
        gc.collect()
    kept: list[bool] = []
    thread = threading.Thread(target=lambda: kept.append(kept_loop().is_closed()))

    thread.start()
    thread.join()
    gc.collect()

    assert kept == [False]


def test_threads_have_loops_of_their_own() -> None:
    loops: list[IdleLoop] = []
    thread = threading.Thread(target=lambda: loops.append(kept_loop()))

    thread.start()
    thread.join()

    assert loops[0] is not kept_loop()
    loops[0].close()

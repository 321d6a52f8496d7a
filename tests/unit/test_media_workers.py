from __future__ import annotations

import threading
import time

import pytest

from services.media.workers import Crew


def test_items_arrive_in_order_and_leaving_waits_for_them():
    seen = []
    with Crew() as crew:
        pipe = crew.pipe("seen", seen.extend, depth=2)
        for number in range(100):
            pipe.put(number)
        pipe.close()
    assert seen == list(range(100))


def test_a_failed_consumer_stops_the_producer_and_its_error_comes_out():
    def fail(items):
        for item in items:
            if item == 3:
                raise ValueError("three")

    def lead():
        with Crew() as crew:
            pipe = crew.pipe("fail", fail, depth=1)
            for number in range(10_000):
                pipe.put(number)
            pipe.close()

    with pytest.raises(ValueError, match="three"):
        lead()


def test_a_failed_producer_ends_every_thread():
    before = threading.active_count()

    def lead():
        with Crew() as crew:
            for name in "abc":
                crew.pipe(name, lambda items: [None for _ in items])
            raise RuntimeError("producer")

    with pytest.raises(RuntimeError, match="producer"):
        lead()
    assert threading.active_count() == before


def test_a_chain_of_pipes_fails_as_one():
    def hand_on(pipe):
        def consume(items):
            for item in items:
                pipe.put(item)

        return consume

    def fail(items):
        next(items)
        raise ValueError("at the end")

    def lead():
        with Crew() as crew:
            last = crew.pipe("last", fail, depth=1)
            first = crew.pipe("first", hand_on(last), depth=1)
            for number in range(10_000):
                first.put(number)
            first.close()
            last.close()

    with pytest.raises(ValueError, match="at the end"):
        lead()


@pytest.mark.parametrize("depth", [1, 2, 8])
def test_a_full_pipe_makes_its_producer_wait(depth):
    sent, ahead = 0, []

    def take_slowly(items):
        for taken, _ in enumerate(items, start=1):
            if taken % 50 == 0:
                time.sleep(0.01)
            ahead.append(sent - taken)

    with Crew() as crew:
        pipe = crew.pipe("slow", take_slowly, depth=depth)
        for _ in range(1000):
            pipe.put(None)
            sent += 1
        pipe.close()
    assert len(ahead) == 1000
    assert max(ahead) <= depth


def test_a_pipe_without_depth_never_makes_its_producer_wait():
    seen, go = [], threading.Event()

    def take_late(items):
        go.wait()
        seen.extend(items)

    with Crew() as crew:
        pipe = crew.pipe("late", take_late, depth=0)
        for number in range(1000):
            pipe.put(number)
        go.set()
        pipe.close()
    assert seen == list(range(1000))

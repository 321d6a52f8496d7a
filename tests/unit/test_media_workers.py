from __future__ import annotations

import threading

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

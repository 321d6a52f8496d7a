"""Tests that share a run: together, unless one needs the machine for itself."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from tests.support.company import taking_part


def test_who_is_alone_is_alone_and_does_not_wait_for_those_who_come_later(tmp_path):
    places = (tmp_path / "turnstile", tmp_path / "room")
    for place in places:
        place.mkdir()
    inside: set[int] = set()
    seen: list[tuple[bool, int]] = []

    def visit(number: int) -> None:
        alone = number % 4 == 3
        with taking_part(alone=alone, places=places):
            inside.add(number)
            time.sleep(0.01)
            seen.append((alone, len(inside)))
            inside.discard(number)

    with ThreadPoolExecutor(3) as threads:
        list(threads.map(visit, range(60)))
    assert {count for alone, count in seen if alone} == {1}
    assert max(count for alone, count in seen if not alone) > 1


def test_the_next_is_whoever_waits_to_be_alone(tmp_path):
    places = (tmp_path / "turnstile", tmp_path / "room")
    for place in places:
        place.mkdir()
    came: list[str] = []

    def visit(name: str, alone: bool) -> None:
        with taking_part(alone=alone, places=places):
            came.append(name)

    with ThreadPoolExecutor(2) as threads:
        with taking_part(alone=False, places=places):
            waiting = threads.submit(visit, "alone", True)
            time.sleep(0.1)
            later = threads.submit(visit, "in company", False)
            time.sleep(0.1)
            assert came == []
        waiting.result()
        later.result()
    assert came == ["alone", "in company"]

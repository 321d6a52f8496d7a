"""Waiting for a bell: until it rings, for a time, or until the wait is cancelled."""

from __future__ import annotations

import asyncio

import pytest

from services.chassis.bell import wait, wait_for


async def test_a_wait_ends_when_the_bell_rings_or_the_time_is_over():
    event = asyncio.Event()
    async with asyncio.timeout(5):
        await wait_for(event, 0.01)
        assert not event.is_set()
        event.set()
        await wait_for(event, 60)
        await wait(event, 60)
    assert not event.is_set()


@pytest.mark.parametrize("turns", range(6))
async def test_a_wait_that_is_cancelled_just_as_the_bell_rings_is_cancelled(turns):
    event = asyncio.Event()
    waiting = asyncio.create_task(wait_for(event, 60))
    await asyncio.sleep(0.01)
    event.set()
    for _ in range(turns):
        await asyncio.sleep(0)
    was_asked = waiting.cancel()
    await asyncio.wait({waiting})
    assert waiting.cancelled() == was_asked

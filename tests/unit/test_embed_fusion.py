"""Rankings made one, and pairs made groups."""

from __future__ import annotations

from uuid import UUID

import pytest

from services.embed.domain.fusion import K, fused, groups

A, B, C, D = (UUID(int=number) for number in range(1, 5))


def test_what_two_kinds_of_evidence_find_comes_before_what_one_finds():
    found = fused({"picture": [(A, 0.9), (B, 0.8), (C, 0.7)], "speech": [(B, 0.5)]})
    assert [clip for clip, _, _ in found] == [B, A, C]
    assert found[0][1:] == (pytest.approx(1 / (K + 2) + 1 / (K + 1)), ("picture", "speech"))


def test_equal_scores_share_a_rank():
    found = fused({"title": [(C, 0.5), (B, 0.5), (A, 0.4)]})
    assert [clip for clip, _, _ in found] == [B, C, A]
    assert found[0][1] == found[1][1] > found[2][1] == pytest.approx(1 / (K + 3))


def test_nothing_found_is_nothing():
    assert fused({}) == fused({"picture": []}) == []
    assert groups([]) == []


def test_likeness_connects_and_the_weakest_link_is_told():
    assert groups([(A, B, 0.99), (B, C, 0.95)]) == [((A, B, C), 0.95)]
    assert groups([(A, B, 0.91), (C, D, 0.99)]) == [((C, D), 0.99), ((A, B), 0.91)]
    assert groups([(A, B, 0.99), (A, C, 0.97), (B, C, 0.92)]) == [((A, B, C), 0.97)]

"""Which message gets which claim, and how many places a message has."""

import itertools
from collections import Counter
from uuid import UUID, uuid4

import pytest

from jobs.hints import NextJobs
from jobs.records import Ask, Claim
from worker.books import dealt
from worker.places import GATHER_S, LARGEST_PARTY, Places, SliceRoom, SliceShare

A, B, C, D, E = (uuid4() for _ in range(5))


def _claim(job_id: UUID, batch_id: UUID | None = None, provider_id: str = "p") -> Claim:
    return Claim(job_id, batch_id, "complete", provider_id, None, "bulk" if batch_id else "interactive", "{}", 1, 0)


@pytest.mark.parametrize(
    ("asks", "claimed", "hands"),
    [
        ([([A], 0)], [A], [[A]]),
        ([([A], 0)], [], [[]]),
        ([([A], 2)], [A, B, C], [[A, B, C]]),
        ([([A], 3)], [B, C], [[B, C]]),
        ([([A], 1), ([B], 2)], [A, B, C, D, E], [[A, C], [B, D, E]]),
        ([([A, B], 0), ([B, C], 1)], [A, B, C, D], [[A, B], [C, D]]),
        ([([A], 2), ([B], 0)], [C, D], [[C, D], []]),
    ],
)
def test_claims_go_to_those_that_name_them_and_others_where_there_is_room(
    asks: list[tuple[list[UUID], int]], claimed: list[UUID], hands: list[list[UUID]]
) -> None:
    given = dealt([Ask(ids, "p", along) for ids, along in asks], [_claim(job_id) for job_id in claimed])
    assert [[claim.job_id for claim in hand] for hand in given] == hands


def test_single_jobs_go_to_messages_of_their_own_provider() -> None:
    """They have places by their provider."""
    asks = [Ask([A], "p", 2), Ask([], "q", 1), Ask([], "q", 5)]
    claims = [_claim(A), _claim(B, None, "q"), _claim(C), _claim(D, None, "q"), _claim(E, None, "q")]
    assert [[claim.job_id for claim in hand] for hand in dealt(asks, claims)] == [[A, C], [B], [D, E]]


def test_messages_for_batches_share_what_was_taken_of_their_batch() -> None:
    mine, other = uuid4(), uuid4()
    asks = [
        Ask([], "p", next_jobs=NextJobs(mine, 1)),
        Ask([A], "p", 9, NextJobs(other, 2)),
        Ask([], "p", next_jobs=NextJobs(mine, 5)),
        Ask([], "p", next_jobs=NextJobs(uuid4(), 5)),
    ]
    claims = [_claim(E), _claim(B, mine), _claim(C, mine), _claim(A, other), _claim(D, other)]
    assert [[claim.job_id for claim in hand] for hand in dealt(asks, claims)] == [[B], [A, D, E], [C], []]
    assert [ask.jobs for ask in asks] == [1, 3, 5, 5]


def _full(places: Places, provider_id: str) -> int:
    """Takes all that a provider gets, one by one."""
    return next(count for count in itertools.count() if not places.take(provider_id))


def test_places_are_taken_one_by_one_and_more_of_what_is_free() -> None:
    places = Places(9)
    assert places.take("a")
    assert places.take_more("a") == 4
    assert places.take_more("a") == 2
    assert [places.take("a") for _ in range(3)] == [True, True, False]
    assert places.take_more("a") == 0
    places.give("a", 1)
    assert places.take("a")


def test_one_message_never_takes_too_many() -> None:
    assert Places(10_000).take_more("a") == LARGEST_PARTY


@pytest.mark.parametrize(("count", "first"), [(1, 1), (4, 4), (9, 9), (10, 9), (19, 18)])
def test_one_provider_leaves_some_to_the_next(count: int, first: int) -> None:
    places = Places(count)
    assert _full(places, "a") == first
    assert places.take("b") is (first < count)


def test_many_providers_get_alike_and_some_are_always_free() -> None:
    places, names = Places(2000), [f"p{n}" for n in range(5)]
    got = Counter[str]()
    while len(places.full) < len(names):
        for name in names:
            got[name] += places.take(name)
    # each has nearly nine times what is free, and messages wait for a tenth of all once they have as much
    assert max(got.values()) - min(got.values()) <= 1
    assert 9 / (1 + 9 * 5) * 2000 >= min(got.values()) >= 200
    assert places.take("new")


def test_who_was_let_go_is_called_when_there_is_room_and_whoever_has_least_comes_first() -> None:
    places = Places(19)
    assert _full(places, "a") == 18
    assert _full(places, "b") == 1
    assert not places.take("c")
    assert (places.pause_s(), places.called()) == (None, [])
    places.give("a", 1)
    assert (places.pause_s(), places.called()) == (0.0, ["c"]), "there is one"
    places.give("a", 4)
    assert (places.pause_s(), places.called()) == (0.0, ["b", "a"])
    places.give("a", 1)
    assert places.pause_s() is None, "all were called"
    places.let_go("a")
    assert places.pause_s() == 0.0


def test_messages_wait_for_some_places_at_once_where_their_provider_has_many() -> None:
    places = Places(2000)
    while places.take_more("a"):
        pass
    assert not places.take("a")
    assert places.pause_s() == GATHER_S, "a party takes half of the room; some is left"
    assert places.take("b")
    places.give("a", 50)
    assert not places.take("a")
    assert (places.full, places.pause_s()) == (["a"], GATHER_S)
    places.give("a", 300)
    assert (places.full, places.pause_s()) == ([], 0.0)
    assert places.take("a")


def test_slices_are_bounded_by_threads_and_by_jobs() -> None:
    room = SliceRoom(3, 100)
    assert [room.take(1) for _ in range(4)] == [True, True, True, False], "threads"
    assert room.free == 0
    for _ in range(3):
        room.give(1)
    assert [room.take(60), room.take(60), room.take(40)] == [True, False, True], "jobs"
    room.give(60)
    room.give(40)
    assert room.take(250), "a slice alone may be larger"


def test_a_slice_that_found_fewer_jobs_gives_their_room_back() -> None:
    room = SliceRoom(3, 100)
    assert room.take(90)
    share = SliceShare(room, 90)
    share.keep(30)
    assert room.free == 70
    assert [room.take(71), room.take(70)] == [False, True]
    share.keep(99)
    share.give()
    assert [room.take(31), room.take(30)] == [False, True]


def test_jobs_that_end_make_room_before_their_slice_does() -> None:
    room = SliceRoom(2, 100)
    assert room.take(90)
    share = SliceShare(room, 90)
    assert not room.take(50)
    for _ in range(60):
        share.give_one()
    assert room.take(50)
    assert not room.take(1), "the slice has its thread yet"
    share.give()
    share.give_one()  # of a job that was cut off
    assert [room.take(51), room.take(50)] == [False, True]

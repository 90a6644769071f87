"""Sessions are found by user and sign-in, however many sessions of one user are in memory."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from authgate.decision.rules import Subject
from authgate.memberships import groups_in
from authgate.worker.memory import Index

steps = st.lists(st.tuples(st.booleans(), st.integers(0, 2), st.sampled_from([b"a", b"b", b"c", b"d"])))


@given(steps)
def test_an_index_contains_the_added_values_except_discarded_ones(
    done: list[tuple[bool, int, bytes]],
) -> None:
    index, expected = Index(), set[tuple[int, bytes]]()
    for is_added, id, key in done:
        if is_added:
            index.add(id, key)
            expected.add((id, key))
        else:
            index.discard(id, key)
            expected.discard((id, key))

    assert {(id, key) for id in range(3) for key in index.of(id)} == expected
    assert len(index) == len(expected)


def test_equal_groups_are_stored_once() -> None:
    one, other = (
        Subject(number, "", f"user{number}", groups=groups_in([(None, 1, "".join(["st", "aff"]))], 0.0)[0])
        for number in range(2)
    )

    assert one.groups is other.groups
    assert one.group_ids is other.group_ids
    assert one.group_ids == {1}

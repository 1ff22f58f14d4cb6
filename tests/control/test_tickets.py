"""Keys of session tickets: new ones go in front, and the last of a ticket's life ends its key."""

from ingressd.control.tickets import KEPT, Tickets
from ingressd.link import TICKET_KEY_BYTES, frame, frames_to_worker


def test_a_new_key_is_first_and_the_oldest_goes() -> None:
    numbers = iter(range(1, 100))
    tickets = Tickets(lambda size: bytes([next(numbers)]) * size)
    seen = []
    for _ in range(KEPT + 3):
        seen.append([key.value[0] for key in tickets.message.keys])
        tickets.renew()
    assert seen == [[1], [2, 1], [3, 2, 1], [4, 3, 2], [5, 4, 3]]


def test_keys_are_random_and_hidden() -> None:
    one, other = Tickets().message, Tickets().message
    assert one != other
    (key,) = one.keys
    assert len(key.value) == TICKET_KEY_BYTES
    assert repr(key.value)[2:-1] not in repr(one)
    assert list(frames_to_worker().feed(frame(one))) == [one]

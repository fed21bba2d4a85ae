"""What every broker does, whatever it is made of."""

from __future__ import annotations

import asyncio

import pytest

from shared.errors import BrokerAway, InputTooLarge, NoWorker, QueueFull
from shared.ports import DEAD_LETTERS, Broker, Delivery, Depth, Message
from tests.contract.brokers import Inbox, Place, broker, place, until

__all__ = ["broker", "place"]


def message(body: bytes = b"body", queue: str = "service", expires_in: float | None = None) -> Message:
    return Message(queue, body, f"job-{body[:20].hex()}", expires_in)


async def publish(broker: Broker, count: int) -> list[bytes]:
    """Publish ``count`` messages one after the other; returns their bodies."""
    bodies = [b"%03d" % number for number in range(count)]
    for body in bodies:
        await broker.publish(message(body))
    return bodies


async def declare(broker: Broker, queue: str = "service") -> None:
    """Make the queue as a worker does that came and went."""
    consumer = await broker.consume(queue, 1, Inbox())
    await consumer.stop()


async def test_a_queue_that_nobody_ever_served_takes_nothing(broker: Broker) -> None:
    with pytest.raises(NoWorker):
        await broker.publish(message())
    assert await broker.depth("service") == Depth(0, 0)


async def test_a_message_may_make_its_queue(broker: Broker) -> None:
    """Several at once, in many queues: one in thirty refuses what comes before it has elected its leader, on a busy machine."""
    for queue in ["service", *(f"service-{number}" for number in range(30))]:
        await asyncio.gather(*(broker.publish(Message(queue, b"%d" % n, f"m{n}", makes_queue=True)) for n in range(5)))
        assert await broker.depth(queue) == Depth(5, 0)
    inbox = Inbox()
    await broker.consume("service", 5, inbox)
    for delivery in await inbox.take(5):
        delivery.ack()


async def test_each_of_many_publishes_gets_its_own_answer(broker: Broker) -> None:
    await declare(broker)
    queues = ["service", "other"] * 20
    # The same identifier again and again: an answer must not reach another publish of the same job.
    answers = await asyncio.gather(*(broker.publish(message(queue=queue)) for queue in queues), return_exceptions=True)
    assert [type(answer) for answer in answers] == [type(None), NoWorker] * 20


@pytest.mark.parametrize("size", [0, 1, 131_072, 1_000_000])
async def test_bytes_arrive_as_they_were_sent(broker: Broker, size: int) -> None:
    inbox = Inbox()
    await broker.consume("service", 1, inbox)
    body = bytes(range(256)) * (size // 256) + bytes(size % 256)
    await broker.publish(message(body))
    delivery = await inbox.next()
    assert (delivery.body, delivery.redelivered, delivery.reason) == (body, False, None)
    delivery.ack()


async def test_a_message_beyond_the_limit_disturbs_nobody(broker: Broker) -> None:
    """RabbitMQ 4 takes no larger one by default and closes the channel of who tries, so the limit is told beforehand."""
    inbox = Inbox()
    await broker.consume("service", 5, inbox)
    most = 16 * 2**20
    answers = await asyncio.gather(*(broker.publish(message(bytes(size))) for size in (1, most, most + 1, 2)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [type(None), type(None), InputTooLarge, type(None)]
    assert [len(delivery.body) for delivery in await inbox.take(3)] == [1, most, 2]


async def test_messages_come_in_order(broker: Broker) -> None:
    inbox = Inbox()
    await broker.consume("service", 10, inbox)
    for body in await publish(broker, 50):
        delivery = await inbox.next()
        assert delivery.body == body
        delivery.ack()


async def test_messages_published_at_once_arrive_once_each(broker: Broker) -> None:
    inbox = Inbox()
    await broker.consume("service", 50, inbox)
    bodies = [b"%03d" % number for number in range(300)]
    await asyncio.gather(*(broker.publish(message(body)) for body in bodies))
    seen = []
    for _ in bodies:
        delivery = await inbox.next()
        seen.append(delivery.body)
        delivery.ack()
    assert sorted(seen) == bodies
    assert await inbox.silent()


async def test_no_more_than_prefetch_are_in_hand(broker: Broker) -> None:
    inbox = Inbox()
    await broker.consume("service", 3, inbox)
    await publish(broker, 5)
    held = await inbox.take(3)
    assert await inbox.silent()
    held[1].ack()
    assert (await inbox.next()).body == b"003"
    held[0].reject(requeue=False)
    assert (await inbox.next()).body == b"004"


async def test_only_what_was_acknowledged_is_gone(place: Place) -> None:
    """Acknowledgements that are sent together must not take a message with them that is still at work."""
    async with place.connect() as first:
        inbox = Inbox()
        await first.consume("service", 20, inbox)
        await publish(first, 12)
        held = await inbox.take(12)
        for number in (0, 1, 2, 5, 7, 4):
            held[number].ack()
        held[6].reject(requeue=False)
    async with place.connect() as second:
        inbox = Inbox()
        await second.consume("service", 20, inbox)
        back = await inbox.take(5)
        assert [(delivery.body, delivery.redelivered) for delivery in back] == [(b"%03d" % number, True) for number in (3, 8, 9, 10, 11)]
        assert await inbox.silent()
        held[3].ack()  # of a client that is gone
        for delivery in back:
            delivery.ack()
        assert await inbox.silent()


async def test_a_message_given_back_comes_again_as_redelivered(broker: Broker) -> None:
    inbox = Inbox()
    await broker.consume("service", 1, inbox)
    await broker.publish(message())
    (await inbox.next()).reject(requeue=True)
    again = await inbox.next()
    assert (again.body, again.redelivered) == (b"body", True)
    again.ack()
    assert await inbox.silent()


async def test_a_rejected_message_is_a_dead_letter(broker: Broker) -> None:
    inbox, dead = Inbox(), Inbox()
    await broker.consume(DEAD_LETTERS, 5, dead)
    await broker.consume("service", 1, inbox)
    await broker.publish(message(b"poison"))
    (await inbox.next()).reject(requeue=False)
    letter = await dead.next()
    assert (letter.body, letter.reason) == (b"poison", "rejected")
    letter.reject(requeue=True)
    again = await dead.next()
    assert (again.body, again.reason, again.redelivered) == (b"poison", "rejected", True)
    again.reject(requeue=False)
    assert await dead.silent()


async def test_dead_letters_wait_for_their_consumer(broker: Broker) -> None:
    inbox, dead = Inbox(), Inbox()
    await broker.consume("service", 1, inbox)
    await broker.publish(message())
    (await inbox.next()).reject(requeue=False)
    await until(lambda: ready(broker, DEAD_LETTERS, 1))
    await broker.consume(DEAD_LETTERS, 5, dead)
    assert (await dead.next()).reason == "rejected"


async def test_a_message_that_waited_too_long_is_a_dead_letter(broker: Broker) -> None:
    inbox, dead = Inbox(), Inbox()
    await broker.consume(DEAD_LETTERS, 5, dead)
    await declare(broker)
    await broker.publish(message(b"late", expires_in=0.2))
    await broker.publish(message(b"patient", expires_in=60))
    letter = await dead.next()
    assert (letter.body, letter.reason) == (b"late", "expired")
    await broker.consume("service", 5, inbox)
    assert (await inbox.next()).body == b"patient"


async def test_a_message_does_not_expire_in_hand(broker: Broker) -> None:
    inbox, dead = Inbox(), Inbox()
    await broker.consume(DEAD_LETTERS, 5, dead)
    await broker.consume("service", 5, inbox)
    await broker.publish(message(expires_in=0.1))
    delivery = await inbox.next()
    assert await dead.silent()
    delivery.reject(requeue=True)
    assert (await dead.next()).reason == "expired"


async def test_a_full_queue_refuses_until_there_is_room(place: Place) -> None:
    async with place.connect(queue_limit=5, retry_after_seconds=7) as broker:
        await declare(broker)
        accepted = 0
        with pytest.raises(QueueFull) as refused:  # noqa: PT012 - which of them is refused is the broker's business
            while accepted < 100:
                await broker.publish(message(b"%d" % accepted))
                accepted += 1
        assert 5 <= accepted < 10
        assert refused.value.retry_after == 7
        inbox = Inbox()
        await broker.consume("service", 1, inbox)
        for number in range(accepted):
            delivery = await inbox.next()
            assert delivery.body == b"%d" % number
            delivery.ack()
        await broker.publish(message(b"room"))
        assert (await inbox.next()).body == b"room"


async def test_consumers_share_a_queue(place: Place) -> None:
    async with place.connect() as one, place.connect() as another:
        inboxes = [Inbox(), Inbox()]
        await one.consume("service", 2, inboxes[0])
        await another.consume("service", 2, inboxes[1])
        await publish(one, 4)
        held = [await inbox.take(2) for inbox in inboxes]
        assert sorted(delivery.body for each in held for delivery in each) == [b"000", b"001", b"002", b"003"]


async def test_a_stopped_consumer_takes_nothing_more_and_can_settle(broker: Broker) -> None:
    inbox = Inbox()
    consumer = await broker.consume("service", 5, inbox)
    await publish(broker, 2)
    held = await inbox.take(2)
    await consumer.stop()
    await consumer.stop()
    await broker.publish(message(b"later"))
    held[0].ack()
    held[1].reject(requeue=True)
    await until(lambda: ready(broker, "service", 2))
    assert await inbox.silent()
    assert (await broker.depth("service")).consumers == 0
    next_inbox = Inbox()
    await broker.consume("service", 5, next_inbox)
    assert {(each.body, each.redelivered) for each in await next_inbox.take(2)} == {(b"001", True), (b"later", False)}


async def test_verifying(broker: Broker) -> None:
    inbox = Inbox()
    consumer = await broker.consume("service", 1, inbox)
    await asyncio.gather(consumer.verify(), consumer.verify())
    await publish(broker, 2)
    held = await inbox.next()
    await consumer.verify()  # with its hands full
    held.ack()
    (await inbox.next()).ack()
    await consumer.verify()
    assert await inbox.silent()
    await consumer.stop()
    with pytest.raises(BrokerAway):
        await consumer.verify()


async def test_depth_counts_what_waits_and_who_consumes(broker: Broker) -> None:
    inbox = Inbox()
    consumer = await broker.consume("service", 2, inbox)
    await publish(broker, 5)
    await until(lambda: ready(broker, "service", 3))
    assert (await broker.depth("service")).consumers == 1
    await consumer.stop()
    for delivery in await inbox.take(2):  # RabbitMQ counts a consumer until it has settled what it holds
        delivery.ack()
    await until(lambda: no_consumer(broker))


async def test_settling_twice_settles_once(broker: Broker) -> None:
    inbox, dead = Inbox(), Inbox()
    await broker.consume("service", 1, inbox)
    await broker.consume(DEAD_LETTERS, 1, dead)
    await publish(broker, 3)
    for body in (b"000", b"001", b"002"):
        delivery = await inbox.next()
        assert (delivery.body, delivery.redelivered) == (body, False)
        delivery.ack()
        delivery.reject(requeue=True)
        delivery.reject(requeue=False)
        delivery.ack()
    assert await inbox.silent()
    assert await dead.silent()


async def test_a_handler_that_raises_loses_only_its_message(broker: Broker) -> None:
    dead, seen = Inbox(), Inbox()

    def handle(delivery: Delivery) -> None:
        if delivery.body == b"001":
            raise ValueError("a handler that is wrong")
        seen(delivery)
        delivery.ack()

    await broker.consume(DEAD_LETTERS, 5, dead)
    await broker.consume("service", 1, handle)
    await publish(broker, 3)
    assert [each.body for each in await seen.take(2)] == [b"000", b"002"]
    letter = await dead.next()
    assert (letter.body, letter.reason) == (b"001", "rejected")


async def test_a_message_given_back_for_ever_dies(broker: Broker) -> None:
    dead = Inbox()
    deliveries = 0

    def handle(delivery: Delivery) -> None:
        nonlocal deliveries
        deliveries += 1
        delivery.reject(requeue=True)

    await broker.consume(DEAD_LETTERS, 5, dead)
    await broker.consume("service", 1, handle)
    await broker.publish(message())
    assert (await dead.next()).reason == "delivery_limit"
    assert deliveries == 101


async def test_a_closed_broker_is_away(place: Place) -> None:
    async with place.connect() as broker:
        await broker.ping()
        await declare(broker)
    with pytest.raises(BrokerAway):
        await asyncio.wait_for(broker.publish(message()), 15)


async def ready(broker: Broker, queue: str, count: int) -> bool:
    return (await broker.depth(queue)).ready == count


async def no_consumer(broker: Broker) -> bool:
    return (await broker.depth("service")).consumers == 0

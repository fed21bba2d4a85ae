"""RabbitMQ is restarted, killed, frozen, short of memory, cut off and tidied away under those who use it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import aiormq
import pytest
from aiormq.abc import ChannelFrame
from pamqp import commands

from shared.adapters.rabbitmq.broker import RabbitBroker, open_broker
from shared.adapters.rabbitmq.consumer import RabbitConsumer
from shared.errors import BrokerAway, NoWorker
from shared.ports import DEAD_LETTERS, Message
from shared.settings import Settings
from tests.contract.brokers import Inbox, until
from tests.faults.proxy import Proxy
from tests.servers import RabbitMQ

PUBLISH_S = 2.0
SLACK_S = 2.0  # two cores, and Erlang on them
BACK_S = 15.0
HEARTBEAT_S = 4

pytestmark = pytest.mark.timeout(180)

Open = Callable[..., AbstractAsyncContextManager[RabbitBroker]]


def message(body: bytes = b"body") -> Message:
    return Message("service", body, f"job-{body.hex()}")


@pytest.fixture
def client(own_rabbitmq: RabbitMQ, namespace: str) -> Open:
    """Opens a client of the server, or of another address."""

    def connect(url: str | None = None, **given: object) -> AbstractAsyncContextManager[RabbitBroker]:
        settings = {"namespace": namespace, "publish_seconds": PUBLISH_S, "heartbeat_seconds": HEARTBEAT_S, **given}
        return open_broker(Settings.model_validate({"broker": url or own_rabbitmq.url, **settings}))

    return connect


@pytest.fixture
async def broker(client: Open) -> AsyncIterator[RabbitBroker]:
    async with client() as broker:
        yield broker


async def recovered(broker: RabbitBroker, consumer: RabbitConsumer | None = None) -> None:
    """Wait until it publishes, and the consumer consumes, again."""

    async def well() -> bool:
        try:
            await broker.ping()
            if consumer is not None:
                await consumer.verify()
        except BrokerAway:
            return False
        return True

    await until(well, BACK_S)


async def refused(broker: RabbitBroker) -> float:
    """Seconds until a publish failed as it should."""
    started = time.monotonic()
    with pytest.raises(BrokerAway):
        await broker.publish(message(b"refused"))
    return time.monotonic() - started


async def drain(inbox: Inbox, wanted: set[bytes]) -> list[tuple[bytes, bool]]:
    """Acknowledge what comes until all that is wanted came; returns (body, redelivered)."""
    seen = []
    while not wanted <= {body for body, _ in seen}:
        delivery = await inbox.next()
        seen.append((delivery.body, delivery.redelivered))
        delivery.ack()
    return seen


@pytest.mark.parametrize("how", ["restart", "kill"])
async def test_everything_comes_back_after_the_server(own_rabbitmq: RabbitMQ, broker: RabbitBroker, how: str) -> None:
    inbox = Inbox()
    consumer = await broker.consume("service", 2, inbox)
    if how == "kill":
        # RabbitMQ 3 loses a queue for good when it is killed within seconds of its declaration; messages it writes before it confirms them.
        await asyncio.to_thread(own_rabbitmq.restart)
        await recovered(broker, consumer)
    bodies = {b"%d" % number for number in range(5)}
    for body in sorted(bodies):
        await broker.publish(message(body))
    held = await inbox.take(2)
    await asyncio.to_thread(own_rabbitmq.stop if how == "restart" else own_rabbitmq.kill)
    assert await refused(broker) < PUBLISH_S + SLACK_S
    with pytest.raises(BrokerAway):
        await broker.ping()
    with pytest.raises(BrokerAway):
        await consumer.verify()
    for delivery in held:
        delivery.ack()  # of a connection that is gone: to no effect
    await asyncio.to_thread(own_rabbitmq.start)
    await recovered(broker, consumer)
    await broker.publish(message(b"after"))
    seen = await drain(inbox, bodies | {b"after"})
    assert {body for body, redelivered in seen if redelivered} >= {delivery.body for delivery in held}
    assert len(seen) == 6


async def test_a_frozen_server_is_away_within_the_limit(own_rabbitmq: RabbitMQ, broker: RabbitBroker) -> None:
    inbox = Inbox()
    consumer = await broker.consume("service", 2, inbox)
    own_rabbitmq.pause()
    assert await refused(broker) < PUBLISH_S + SLACK_S
    for question in (broker.ping, consumer.verify, lambda: broker.depth("service")):
        started = time.monotonic()
        with pytest.raises(BrokerAway):
            await question()
        assert time.monotonic() - started < PUBLISH_S + SLACK_S
    own_rabbitmq.resume()
    await recovered(broker, consumer)
    await broker.publish(message(b"after"))
    await drain(inbox, {b"after"})


async def test_a_server_that_is_away_at_the_start(own_rabbitmq: RabbitMQ, client: Open) -> None:
    await asyncio.to_thread(own_rabbitmq.kill)
    async with client() as broker:
        assert await refused(broker) < PUBLISH_S + SLACK_S
        inbox = Inbox()
        consuming = asyncio.create_task(broker.consume("service", 1, inbox))
        await asyncio.to_thread(own_rabbitmq.start)
        consumer = await asyncio.wait_for(consuming, BACK_S)
        await recovered(broker, consumer)
        await broker.publish(message())
        await drain(inbox, {b"body"})


async def test_closing_does_not_wait_for_a_frozen_server(own_rabbitmq: RabbitMQ, client: Open) -> None:
    async with client() as broker:
        await broker.consume("service", 1, Inbox())
        own_rabbitmq.pause()
        started = time.monotonic()
    assert time.monotonic() - started < 4 * PUBLISH_S + SLACK_S


async def test_a_memory_alarm_refuses_publishing_and_nothing_else(own_rabbitmq: RabbitMQ, broker: RabbitBroker) -> None:
    inbox = Inbox()
    consumer = await broker.consume("service", 1, inbox)
    await consumer.verify()
    for number in range(3):
        await broker.publish(message(b"%d" % number))
    await asyncio.to_thread(own_rabbitmq.ctl, "set_vm_memory_high_watermark", "0")
    try:
        assert await refused(broker) < PUBLISH_S + SLACK_S
        assert await refused(broker) < PUBLISH_S + SLACK_S
        await drain(inbox, {b"0", b"1", b"2"})  # one at a time: each comes only because the one before was acknowledged
        await consumer.verify()
        assert (await broker.depth("service")).consumers == 1
    finally:
        await asyncio.to_thread(own_rabbitmq.ctl, "set_vm_memory_high_watermark", "absolute", "1GB")
    await recovered(broker, consumer)
    await broker.publish(message(b"after"))
    await drain(inbox, {b"after"})


async def test_a_deleted_queue_is_made_again_for_its_consumer(own_rabbitmq: RabbitMQ, broker: RabbitBroker, namespace: str) -> None:
    inbox = Inbox()
    consumer = await broker.consume("service", 1, inbox)
    await broker.publish(message(b"before"))
    held = await inbox.next()
    async with channel_of(own_rabbitmq.url) as channel:
        await channel.queue_delete(f"{namespace}.service")
    held.ack()
    await asyncio.wait_for(recovered(broker, consumer), 5)
    await broker.publish(message(b"after"))
    assert await drain(inbox, {b"after"}) == [(b"after", False)]


async def test_a_deleted_queue_without_consumer_takes_nothing(own_rabbitmq: RabbitMQ, broker: RabbitBroker, namespace: str) -> None:
    consumer = await broker.consume("service", 1, Inbox())
    await consumer.stop()
    await broker.publish(message())
    async with channel_of(own_rabbitmq.url) as channel:
        await channel.queue_delete(f"{namespace}.service")
    with pytest.raises(NoWorker):
        await broker.publish(message())


async def test_a_consumer_that_only_believes_to_consume_is_found_out(broker: RabbitBroker) -> None:
    inbox = Inbox()
    consumer = await broker.consume("service", 1, inbox)
    await broker.publish(message())
    (await inbox.next()).ack()
    await consumer.verify()
    subscription = subscription_of(consumer)
    # Cancelled at the server without the client's knowing, as by the faults that clients had in the past.
    send(subscription._channel, commands.Basic.Cancel(consumer_tag=subscription._tag or "", nowait=True))
    await until(lambda: no_consumer(broker))
    assert subscription.alive
    with pytest.raises(BrokerAway):
        await consumer.verify()
    await asyncio.wait_for(recovered(broker, consumer), 5)
    await broker.publish(message(b"after"))
    await drain(inbox, {b"after"})


async def test_a_channel_that_delivers_nothing_is_found_out(broker: RabbitBroker) -> None:
    inbox = Inbox()
    consumer = await broker.consume("service", 1, inbox)
    await consumer.verify()
    subscription_of(consumer)._channel._on_deliver_frame = _ignore_frame  # type: ignore[method-assign]
    with pytest.raises(BrokerAway):
        await consumer.verify()
    await asyncio.wait_for(recovered(broker, consumer), 5)
    await broker.publish(message(b"after"))
    await drain(inbox, {b"after"})


async def test_a_channel_closed_by_the_server_is_opened_again(broker: RabbitBroker) -> None:
    inbox = Inbox()
    consumer = await broker.consume("service", 2, inbox)
    await broker.publish(message(b"held"))
    held = await inbox.next()
    send(subscription_of(consumer)._channel, commands.Basic.Ack(delivery_tag=999))
    assert (await inbox.next()).redelivered
    held.ack()
    await asyncio.wait_for(recovered(broker, consumer), 5)
    publishing = broker._publisher._channel
    assert publishing is not None
    send(publishing, commands.Basic.Ack(delivery_tag=999))
    with pytest.raises(BrokerAway):
        await broker.publish(message(b"in flight"))
    await broker.publish(message(b"after"))
    await drain(inbox, {b"after"})


async def test_a_network_that_swallows_everything(own_rabbitmq: RabbitMQ, client: Open) -> None:
    async with Proxy.before(own_rabbitmq.url) as proxy, client(proxy.url) as broker, client() as direct:
        inbox, other = Inbox(), Inbox()
        consumer = await broker.consume("service", 1, inbox)
        await direct.publish(message(b"held"))
        held = await inbox.next()
        proxy.swallow()
        started = time.monotonic()
        assert await refused(broker) < PUBLISH_S + SLACK_S
        await until(lambda: noticed(consumer), 3 * HEARTBEAT_S)
        assert time.monotonic() - started < HEARTBEAT_S + SLACK_S
        await direct.consume("service", 1, other)
        again = await other.next()  # the server noticed as well and gave it to somebody else
        assert (again.body, again.redelivered) == (b"held", True)
        held.ack()
        again.ack()
        proxy.resume()
        await recovered(broker, consumer)


async def test_no_confirmed_message_is_lost_when_connections_break(own_rabbitmq: RabbitMQ, client: Open) -> None:
    confirmed: set[bytes] = set()
    async with client() as worker, Proxy.before(own_rabbitmq.url) as proxy, client(proxy.url) as broker:
        inbox = Inbox()
        consumer = await worker.consume("service", 50, inbox)
        await consumer.stop()
        for round_ in range(6):
            await recovered(broker)
            proxy.cut_after(700 * round_ + 150, "down" if round_ % 2 else "up")
            bodies = [b"%d-%d" % (round_, number) for number in range(40)]
            answers = await asyncio.gather(*(broker.publish(message(body)) for body in bodies), return_exceptions=True)
            assert all(answer is None or isinstance(answer, BrokerAway) for answer in answers)
            confirmed |= {body for body, answer in zip(bodies, answers, strict=True) if answer is None}
        await worker.consume("service", 50, inbox)
        seen = [body for body, _ in await drain(inbox, confirmed)]
        assert len(seen) == len(set(seen))
        assert 0 < len(confirmed) < 240


async def test_a_message_in_hand_is_redelivered_when_its_connection_is_cut(own_rabbitmq: RabbitMQ, client: Open) -> None:
    async with Proxy.before(own_rabbitmq.url) as proxy, client(proxy.url) as broker:
        inbox = Inbox()
        consumer = await broker.consume("service", 1, inbox)
        await broker.publish(message())
        held = await inbox.next()
        proxy.sever()
        again = await inbox.next()
        assert again.redelivered
        held.ack()
        again.ack()
        await recovered(broker, consumer)
        await until(lambda: empty(broker))
        assert await inbox.silent()


async def test_a_queue_made_with_another_limit_is_used_as_it_is(client: Open) -> None:
    async with client(queue_limit=5) as first:
        await (await first.consume("service", 1, Inbox())).stop()
    async with client(queue_limit=6) as second:
        inbox = Inbox()
        consumer = await second.consume("service", 1, inbox)
        await consumer.verify()
        await second.publish(message())
        await drain(inbox, {b"body"})


async def test_dead_letters_survive_a_restart(own_rabbitmq: RabbitMQ, broker: RabbitBroker) -> None:
    inbox, dead = Inbox(), Inbox()
    await broker.consume("service", 1, inbox)
    await broker.publish(message(b"poison"))
    (await inbox.next()).reject(requeue=False)
    await until(lambda: empty(broker))
    await asyncio.to_thread(own_rabbitmq.ctl, "eval", "mnesia:sync_log().")
    await asyncio.to_thread(own_rabbitmq.kill)
    await asyncio.to_thread(own_rabbitmq.start)
    await recovered(broker)
    await broker.consume(DEAD_LETTERS, 1, dead)
    letter = await dead.next()
    assert (letter.body, letter.reason) == (b"poison", "rejected")


async def test_a_consumer_timed_out_by_the_server_consumes_again(own_rabbitmq: RabbitMQ, client: Open) -> None:
    def limit(milliseconds: int) -> None:
        for name in ("consumer_timeout", "channel_tick_interval"):
            own_rabbitmq.ctl("eval", f"application:set_env(rabbit, {name}, {milliseconds}).")

    await asyncio.to_thread(limit, 1000)
    try:
        async with client() as broker:
            inbox = Inbox()
            consumer = await broker.consume("service", 1, inbox)
            await broker.publish(message())
            held = await inbox.next()
            again = await inbox.next()
            assert (again.body, again.redelivered) == (b"body", True)
            held.ack()
            again.ack()
            await recovered(broker, consumer)
    finally:
        await asyncio.to_thread(limit, 1_800_000)


async def no_consumer(broker: RabbitBroker) -> bool:
    return (await broker.depth("service")).consumers == 0


async def empty(broker: RabbitBroker) -> bool:
    try:
        return (await broker.depth("service")).ready == 0
    except BrokerAway:
        return False


async def noticed(consumer: RabbitConsumer) -> bool:
    return not subscription_of(consumer).alive


async def _ignore_frame(frame: commands.Basic.Deliver) -> None:
    """In place of aiormq's handling of a delivery: the frames after it are ignored as well."""


def subscription_of(consumer: RabbitConsumer):  # type: ignore[no-untyped-def]
    subscription = consumer._subscription
    assert subscription is not None
    return subscription


def send(channel: aiormq.Channel, frame: commands.Basic.Ack | commands.Basic.Cancel) -> None:
    """Put a frame on the wire behind everybody's back."""
    channel.write_queue.put_nowait(ChannelFrame.marshall(channel.number, [frame]))


@asynccontextmanager
async def channel_of(url: str) -> AsyncIterator[aiormq.abc.AbstractChannel]:
    """A channel of somebody else's."""
    connection = await aiormq.connect(url)
    try:
        yield await connection.channel()
    finally:
        await connection.close()

"""Puts the controller together: sockets, signals, admin server, handover, and the tasks that post to its loop."""

import asyncio
import dataclasses
import logging
import os
import signal
from collections.abc import Sequence
from contextlib import aclosing
from socket import socket

import msgspec

from ingressd.admin.app import serving
from ingressd.aio import spawn
from ingressd.control import sockets
from ingressd.control.controller import Controller, HandedOver, SourceChanged, Stop
from ingressd.control.handover import Offer, Taken, take
from ingressd.control.options import Options
from ingressd.control.sockets import ListenError
from ingressd.control.workers import Listeners
from ingressd.control.writing import Writers
from ingressd.source.base import Changes, Source, SourceError

SOURCE_RETRY = 5.0
"""Seconds before a source that failed is asked again."""
EXIT_AT_ONCE = 1
"""Exit code after a second signal."""

_log = logging.getLogger(__name__)


async def run(options: Options, source: Source, writers: Writers) -> None:
    """Runs the controller until SIGTERM or SIGINT ends it, or another one has taken over. Raises SourceError and
    ListenError before it begins."""
    first = source.load()
    taken = take(options.handover) if options.handover else Taken([], None)
    opened: list[list[socket]] = []
    try:
        workers = options.settings.workers
        opened += sockets.listen(options.http, workers, taken.sockets)
        if options.https is not None:
            opened += sockets.listen(options.https, workers, taken.sockets)
        else:
            opened += [[] for _ in range(workers)]
        (admin,) = sockets.listen(options.admin, 1, taken.sockets)
        used = {sock.fileno() for group in (*opened, admin) for sock in group}
        # What we do not listen on is left to the one before us.
        sockets.close([[sock for sock in taken.sockets if sock.fileno() not in used]])
        http, https = opened[:workers], opened[workers:]
        listeners = [Listeners(*each) for each in zip(http, https, strict=True)]
        await _serve(options, source, writers, first, listeners, admin, taken)
    finally:
        taken.close()
        sockets.close([*opened, taken.sockets])


async def _serve(
    options: Options,
    source: Source,
    writers: Writers,
    first: Changes,
    listeners: Sequence[Listeners],
    admin: Sequence[socket],
    taken: Taken,
) -> None:
    _log.info("listening on %s", ", ".join(dict.fromkeys(map(sockets.url, listeners[0].http))))
    if listeners[0].https:
        _log.info("HTTPS on %s", ", ".join(dict.fromkeys(sockets.url(sock, "https") for sock in listeners[0].https)))
    _log.info("admin API on %s", ", ".join(dict.fromkeys(map(sockets.url, admin))))
    ours = [group for each in listeners for group in each]
    # For the one after us. The admin server closes its own.
    each_once = {sock.fileno(): sock for group in (*ours, admin) for sock in group}.values()
    given = [sock.dup() for sock in each_once] if options.handover else []
    offer = Offer(options.handover, given, lambda: controller.post(HandedOver()))

    def on_ready() -> None:
        taken.ready()
        if options.handover:
            try:
                offer.open()
            except ListenError as error:
                _log.error("nobody can take over from this process: %s", error)

    def hang_up() -> bool:
        handed_over = offer.stop() or taken.shared
        sockets.close([*ours, given])
        if handed_over:
            # Whoever asks now is to be answered by the one after us, or before.
            spawn(stop_admin(), "the end of the admin server")
        return handed_over

    settings = msgspec.structs.replace(options.settings, shared=taken.shared)
    options = dataclasses.replace(options, settings=settings)
    controller = Controller(options, source, listeners, writers, on_ready=on_ready, hang_up=hang_up)
    _follow_signals(controller)
    following = spawn(_follow(source, controller), "follow the source")
    try:
        async with serving(controller, admin) as stop_admin, writers.running():
            await controller.run(first)
    finally:
        controller.kill()
        following.cancel()
        await asyncio.gather(asyncio.wait([following]), offer.close())


def _follow_signals(controller: Controller) -> None:
    """The first SIGTERM or SIGINT stops in order, the second at once."""
    loop = asyncio.get_running_loop()
    asked = False

    def on_signal(which: signal.Signals) -> None:
        nonlocal asked
        if asked:
            controller.kill()
            os._exit(EXIT_AT_ONCE)
        asked = True
        controller.post(Stop(which))

    for which in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(which, on_signal, which)


async def _follow(source: Source, controller: Controller) -> None:
    """Posts the changes of the source. What is served goes on without it, so it is asked again when it fails."""
    while True:
        try:
            async with aclosing(source.watch()) as watch:
                async for changes in watch:
                    controller.post(SourceChanged(changes))
        except SourceError as error:
            _log.error("%s; trying again in %g s", error, SOURCE_RETRY)
        except Exception:
            _log.exception("changes of objects are not seen; trying again in %g s", SOURCE_RETRY)
        await asyncio.sleep(SOURCE_RETRY)

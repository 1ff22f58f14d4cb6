# As much of locust as locustfile.py uses, so that mypy checks it whether locust is installed or not.

from argparse import Namespace
from collections.abc import Callable
from typing import Any, TypeVar

from locust.argument_parser import LocustArgumentParser

F = TypeVar("F", bound=Callable[..., None])

class RequestEvent:
    def fire(self, **what: object) -> None: ...

class CommandLineEvent:
    def add_listener(self, listener: Callable[[LocustArgumentParser], None]) -> object: ...

class Events:
    request: RequestEvent
    init_command_line_parser: CommandLineEvent

class Environment:
    events: Events
    parsed_options: Namespace

class User:
    abstract: bool
    weight: int
    host: str | None
    environment: Environment
    def __init__(self, environment: Environment) -> None: ...
    def wait_time(self) -> float: ...
    def on_start(self) -> None: ...
    def on_stop(self) -> None: ...

events: Events

def task(weight: int) -> Callable[[F], F]: ...
def between(least: float, most: float) -> Callable[[Any], float]: ...

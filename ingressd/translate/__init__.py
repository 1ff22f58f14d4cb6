"""Kubernetes objects -> model. Pure functions; a bad object becomes a Problem and the rest goes on.

What belongs here is the meaning of objects together: whose they are, who wins, where a backend leads. What is wrong
with an object alone is found in `resources`, before it gets here.
"""

from ingressd.translate.keyring import Keyring, secret_name
from ingressd.translate.options import CONTROLLER_CLASS, INGRESS_CLASS, Options
from ingressd.translate.translation import Translation, Translator, translate

__all__ = [
    "CONTROLLER_CLASS",
    "INGRESS_CLASS",
    "Keyring",
    "Options",
    "Translation",
    "Translator",
    "secret_name",
    "translate",
]

"""What the tests of TLS share: authorities and certificates, made once."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.kit.pki import Authority, Issued


@dataclass(frozen=True)
class Pki:
    """`web` is for a.example and *.example.com, `other` for b.example with an RSA key; `client` is a client's, by the
    authority `clients`; `stranger` is by nobody known."""

    authority: Authority
    clients: Authority
    web: Issued
    other: Issued
    client: Issued
    stranger: Issued
    directory: Path

    def file(self, issued: Issued, name: str) -> tuple[Path, Path]:
        return issued.files(self.directory, name)


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    authority, clients = Authority(), Authority("Client CA")
    return Pki(
        authority,
        clients,
        authority.issue("a.example", "*.example.com"),
        authority.issue("b.example", key="rsa"),
        clients.issue(common_name="alice"),
        Authority("Nobody").issue(common_name="mallory"),
        tmp_path_factory.mktemp("pki"),
    )

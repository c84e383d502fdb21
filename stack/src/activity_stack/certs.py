"""A certificate authority of the stack's own, and one certificate for all its servers."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import trustme

HOSTS = ("localhost", "127.0.0.1")
CLIENT = "client@activity.stack"


@dataclass(frozen=True)
class Certificates:
    """The files of an instance, PEM all of them; keys are PKCS #8 without a password."""

    folder: Path

    @property
    def authority(self) -> Path:
        """The certificate that clients trust."""
        return self.folder / "ca.pem"

    @property
    def server(self) -> Path:
        """The servers' certificate chain."""
        return self.folder / "server.pem"

    @property
    def key(self) -> Path:
        """The servers' key."""
        return self.folder / "server.key"

    @property
    def server_with_key(self) -> Path:
        """Key and chain in one file, as Kafka wants them."""
        return self.folder / "server-with-key.pem"


def ensure(folder: Path) -> Certificates:
    """The instance's certificates, made on first use and whole or not there."""
    files = Certificates(folder)
    if not files.server_with_key.exists():
        fresh = folder.with_suffix(".new")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        _make(fresh)
        shutil.rmtree(folder, ignore_errors=True)
        fresh.rename(folder)
    return files


def _make(folder: Path) -> None:
    import trustme  # noqa: PLC0415 - slow to import, needed once

    files = Certificates(folder)
    authority = trustme.CA(organization_name="activity stack")
    authority.cert_pem.write_to_path(str(files.authority))
    _write(authority.issue_cert(*HOSTS), files.server, files.key)
    _write(authority.issue_cert(CLIENT), folder / "client.pem", folder / "client.key")
    files.server_with_key.write_bytes(files.key.read_bytes() + files.server.read_bytes())
    for private in (files.key, files.server_with_key, folder / "client.key"):
        private.chmod(0o600)


def _write(leaf: trustme.LeafCert, chain: Path, key: Path) -> None:
    from cryptography.hazmat.primitives import serialization as forms  # noqa: PLC0415 - slow to import, needed once

    chain.write_bytes(b"".join(part.bytes() for part in leaf.cert_chain_pems))
    loaded = forms.load_pem_private_key(leaf.private_key_pem.bytes(), password=None)
    plain = forms.NoEncryption()
    key.write_bytes(loaded.private_bytes(forms.Encoding.PEM, forms.PrivateFormat.PKCS8, plain))

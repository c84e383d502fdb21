import ssl
from pathlib import Path

from activity_stack import certs


def test_a_client_that_trusts_the_authority_accepts_the_server_by_name_and_address(tmp_path: Path) -> None:
    files = certs.ensure(tmp_path / "certs")
    for host in ("localhost", "127.0.0.1"):
        assert shake_hands(files, host)


def test_certificates_are_made_once(tmp_path: Path) -> None:
    first = certs.ensure(tmp_path / "certs").authority.read_bytes()
    assert certs.ensure(tmp_path / "certs").authority.read_bytes() == first


def test_certificates_left_half_made_are_made_again(tmp_path: Path) -> None:
    (tmp_path / "certs").mkdir()
    (tmp_path / "certs" / "ca.pem").write_text("half")
    assert "BEGIN CERTIFICATE" in certs.ensure(tmp_path / "certs").authority.read_text()


def test_keys_are_for_the_owner_alone(tmp_path: Path) -> None:
    files = certs.ensure(tmp_path / "certs")
    assert files.key.stat().st_mode & 0o077 == 0
    assert files.key.read_text().startswith("-----BEGIN PRIVATE KEY-----")


def shake_hands(files: certs.Certificates, host: str) -> bool:
    server_context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server_context.load_cert_chain(files.server, files.key)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    client_context = ssl.create_default_context(cafile=str(files.authority))
    client = client_context.wrap_bio(to_client, to_server, server_hostname=host)
    done: set[ssl.SSLObject] = set()
    for _ in range(5):
        for side in (client, server):
            try:
                side.do_handshake()
                done.add(side)
            except ssl.SSLWantReadError:
                continue
    return len(done) == 2

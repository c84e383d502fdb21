"""What Elasticsearch answers for documents is read as it is: bodies, errors, and neither."""

import msgspec
from chaos.watch import Answer


def test_documents_with_and_without_a_body_and_with_an_error_are_read() -> None:
    there = b'{"_id":"a","found":true,"_version":3,"_source":{"x":1}}'
    text = b'{"docs":[%b,{"_id":"b"},{"_id":"c","error":{"type":"t"}}]}' % there
    found, gone, unknown = msgspec.json.decode(text, type=Answer).docs
    assert (found.version, bytes(found.source), bytes(found.error)) == (3, b'{"x":1}', b"")
    assert (gone.found, gone.version, bytes(gone.source)) == (False, None, b"")
    assert bytes(unknown.error) == b'{"type":"t"}'

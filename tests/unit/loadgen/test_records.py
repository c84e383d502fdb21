"""Records whose header names are not UTF-8 are read like any others."""

import pytest
from aiokafka.errors import CorruptRecordException
from aiokafka.record.memory_records import MemoryRecords
from fixtures.record_batches import CODECS, Batch, record

from activity_loadgen.records import Content

ODD = ((b"plain", b"1"), (b"caf\xe9", b"2"), (b"\xff\xfe", None))


def read(content: bytes) -> list[tuple[int, bytes | None, list[tuple[str, bytes | None]]]]:
    """Offset, value and headers of the records, batch after batch."""
    batches, found = Content(content), []
    while batches.has_next():
        batch = batches.next_batch()
        assert batch.validate_crc()
        found += [(each.offset, each.value, each.headers) for each in batch]
    return found


@pytest.mark.parametrize("codec", [0, *CODECS])
def test_what_is_not_utf8_in_a_name_is_replaced(codec: int) -> None:
    records = [record(0, b"a"), record(1, b"b", headers=ODD), record(2, b"c", headers=[(b"after", b"3")])]
    assert read(Batch(records, base=7, codec=codec).encoded()) == [
        (7, b"a", []),
        (8, b"b", [("plain", b"1"), ("caf�", b"2"), ("��", None)]),
        (9, b"c", [("after", b"3")]),
    ]


def test_the_client_alone_refuses_such_a_batch() -> None:
    """When it does not any more, this module can go."""
    batch = MemoryRecords(Batch([record(0, b"a", headers=ODD)]).encoded()).next_batch()
    with pytest.raises((CorruptRecordException, UnicodeDecodeError)):
        list(batch)


def test_a_damaged_batch_is_refused_all_the_same() -> None:
    content = Batch([record(0, b"a")[:-1]]).encoded()
    with pytest.raises(CorruptRecordException):
        list(Content(content).next_batch())

"""What a broker sends becomes records; what cannot be decoded is isolated to its offsets."""

import hashlib
import tracemalloc
from collections.abc import Callable

import pytest
from fixtures.record_batches import (
    CODECS,
    FIRST_TIME,
    HEADER,
    Batch,
    body,
    field,
    marker,
    old_message,
    record,
    signed,
    snappy_block,
    values,
    varint,
)
from hypothesis import given
from hypothesis import strategies as st

from activity_indexer.adapters.kafka.records.batches import KEPT_BYTES, FetchedPartition, Reading
from activity_indexer.ports import Content, HeaderName, Record, Truncation, UndecodedRecord
from activity_indexer.positions import Partition

PLACE = Partition("transactions", 3)
LIMIT = 100_000


class Read:
    """What came of the bytes of one fetch."""

    def __init__(
        self,
        content: bytes,
        offset: int = 0,
        aborted: list[tuple[int, int]] | None = None,
        limit: int = LIMIT,
        holding: bytes = b"",
    ) -> None:
        self.notes: list[tuple[int, str | None]] = []
        reading = Reading(PLACE, limit, committed_only=True, aborted=aborted or [], holding=holding)
        fetched = FetchedPartition(reading, content, offset, lambda at, reason: self.notes.append((at, reason)))
        self.records: list[Record] = list(fetched)
        self.next = fetched.next_fetch_offset

    @property
    def corrupt(self) -> tuple[int, str] | None:
        offset, reason = self.notes[-1]
        return None if reason is None else (offset, reason)

    @property
    def shown(self) -> list[tuple[int, bytes | str | None]]:
        """Offsets with values, or with the errors of what could not be decoded."""
        return [
            (each.offset, each.error.code if isinstance(each, UndecodedRecord) else each.value) for each in self.records
        ]

    def undecoded(self) -> UndecodedRecord:
        (found,) = [each for each in self.records if isinstance(each, UndecodedRecord)]
        return found


@pytest.mark.parametrize("codec", range(5))
def test_batches_that_do_not_hold_what_is_looked_for_are_passed_over_whole(codec: int) -> None:
    plain = Batch([record(0, b"x"), record(1, b"y")], 0, codec).encoded()
    marked = Batch([record(0, b"z"), record(1, b"1", b"key", [(b"replay-from", b"2")])], 2, codec).encoded()
    read = Read(plain + marked + values(b"end", base=4), holding=b"replay-")
    assert read.shown == [(2, b"z"), (3, b"1")]
    assert (read.next, read.corrupt) == (5, None)
    assert Read(plain, holding=b"replay-").next == 2


def test_what_cannot_be_looked_into_is_not_passed_over() -> None:
    broken = Batch([record(0, b"x")], 0, 2).encoded()
    read = Read(broken, limit=1, holding=b"replay-")
    assert [offset for offset, _ in read.shown] == [0]


@pytest.mark.parametrize("codec", range(5))
def test_records_are_as_they_were_written(codec: int) -> None:
    headers: list[tuple[bytes, bytes | None]] = [(b"a", b"1"), ("ä".encode(), None)]
    batch = Batch([record(0, b"x", b"key", headers), record(1, None), record(2, b"", None)], 7, codec)
    read = Read(batch.encoded() + values(b"y", base=10), offset=7)
    first = read.records[0]
    assert (first.topic, first.partition, first.offset, first.key, first.value) == ("transactions", 3, 7, b"key", b"x")
    assert tuple(first.headers) == (("a", b"1"), ("ä", None))
    assert [each.timestamp - FIRST_TIME for each in read.records] == [0, 1, 2, 0]
    assert read.shown == [(7, b"x"), (8, None), (9, b""), (10, b"y")]
    assert [each.key for each in read.records] == [b"key", b"k", None, b"k"]
    assert (read.next, read.corrupt) == (11, None)


def test_a_fetch_may_begin_in_the_middle_of_a_batch_and_end_in_one() -> None:
    content = values(b"a", b"b", b"c") + values(b"d", base=3)
    read = Read(content[:-1], offset=1)
    assert (read.shown, read.next, read.corrupt) == ([(1, b"b"), (2, b"c")], 3, None)


def test_offsets_that_compaction_removed_are_passed() -> None:
    read = Read(Batch([record(1, b"b"), record(4, b"e")], 10, last=9).encoded(), offset=10)
    assert (read.shown, read.next) == ([(11, b"b"), (14, b"e")], 20)
    assert Read(Batch([], 10, last=9).encoded(), offset=10).next == 20


def test_the_time_of_the_log_counts_where_the_topic_wants_it() -> None:
    read = Read(Batch([record(0, b"a"), record(1, b"b", headers=[(b"\xff", b"")])], attributes=0x08).encoded())
    assert [each.timestamp for each in read.records] == [FIRST_TIME + 1000] * 2


def test_only_what_is_committed_is_read_and_markers_are_passed_over() -> None:
    content = (
        Batch([record(0, b"aborted")], 0, attributes=0x10, producer=1).encoded()
        + Batch([record(0, b"committed")], 1, attributes=0x10, producer=2).encoded()
        + values(b"plain", base=2)
        + marker(3, 1, abort=True)
        + Batch([record(0, b"next")], 4, attributes=0x10, producer=1).encoded()
        + marker(5, 2, abort=False)
        + marker(6, 1, abort=False)
    )
    read = Read(content, aborted=[(1, 0)])
    assert read.shown == [(1, b"committed"), (2, b"plain"), (4, b"next")]
    assert read.next == 7


# What cannot be decoded


@pytest.mark.parametrize("codec", [0, 4])
def test_a_header_name_that_is_not_utf8_costs_nothing_and_keeps_its_bytes(codec: int) -> None:
    odd = record(1, b"b", b"key", [(b"\xff\xfeodd", b"v"), (b"fine", None)])
    read = Read(Batch([record(0, b"a"), odd, record(2, b"c")], 5, codec).encoded(), offset=5)
    assert read.shown == [(5, b"a"), (6, b"b"), (7, b"c")]
    (name, content), fine = read.records[1].headers
    assert isinstance(name, HeaderName)
    assert (str(name), name.encode(), content, fine) == ("\\xff\\xfeodd", b"\xff\xfeodd", b"v", ("fine", None))
    assert (read.records[1].key, read.records[1].timestamp) == (b"key", FIRST_TIME + 1)


def damaged(change: Callable[[bytes], bytes]) -> bytes:
    return field(change(body(1, b"value", b"key", [(b"h", b"v")])))


@pytest.mark.parametrize(
    "bad",
    [
        damaged(lambda raw: raw[:-1]),
        damaged(lambda raw: raw + b"!"),
        damaged(lambda raw: raw[:3] + varint(1000) + raw[4:]),  # a key that is longer than the record
        damaged(lambda raw: raw[:-5] + varint(-5) + raw[-4:]),  # a number of headers below zero
        damaged(lambda raw: raw[:-5] + varint(1 << 40) + raw[-4:]),
        damaged(lambda raw: raw[:-4] + varint(-1) + raw[-3:]),  # a header without a name
        damaged(lambda raw: b"\x00" + b"\xff" * 11 + raw),  # a number without an end
        field(b""),
        field(b"\x00"),
    ],
)
@pytest.mark.parametrize("codec", [0, 4])
def test_a_record_that_cannot_be_decoded_is_isolated_to_its_offset(bad: bytes, codec: int) -> None:
    read = Read(Batch([record(0, b"a"), bad, record(2, b"c")], 40, codec).encoded() + values(b"d", base=43), offset=40)
    assert read.shown == [(40, b"a"), (41, "undecodable_record"), (42, b"c"), (43, b"d")]
    found = read.undecoded()
    assert field(found.value) == bad
    assert (found.content, found.first_offset, found.truncation) == (Content.RECORD, 41, None)
    assert (read.next, read.corrupt) == (44, None)


@pytest.mark.parametrize("delta", [0, -1, 3, 1000, 1 << 40])
def test_an_offset_that_lies_outside_its_batch_is_not_believed(delta: int) -> None:
    batch = Batch([record(0, b"a"), record(delta, b"b"), record(2, b"c")])
    read = Read(batch.encoded())
    assert read.shown == [(0, b"a"), (1, "undecodable_record"), (2, b"c")]
    assert read.next == 3


@pytest.mark.parametrize("bad", [varint(-3), varint(10_000), b"\xff" * 12])
@pytest.mark.parametrize("codec", [0, 2])
def test_the_rest_of_a_batch_that_cannot_be_split_is_one_record_at_its_last_offset(bad: bytes, codec: int) -> None:
    rest = bad + record(2, b"c") + record(3, b"d")
    batch = Batch([record(0, b"a"), rest], 40, codec, last=3, count=4)
    read = Read(batch.encoded() + values(b"e", base=44), offset=40)
    assert read.shown == [(40, b"a"), (43, "undecodable_records"), (44, b"e")]
    found = read.undecoded()
    assert (found.first_offset, found.value, found.content) == (41, rest, Content.RECORDS)
    assert (read.next, read.corrupt) == (45, None)


@pytest.mark.parametrize(("count", "last"), [(5, 4), (2**31 - 1, 4)])
def test_records_that_a_batch_promises_and_does_not_hold_are_reported(count: int, last: int) -> None:
    read = Read(Batch([record(0, b"a")], last=last, count=count).encoded() + values(b"f", base=5))
    assert read.shown == [(0, b"a"), (4, "undecodable_records"), (5, b"f")]


@pytest.mark.parametrize("count", [-1, 0, 1])
def test_records_beyond_the_number_that_a_batch_says_are_not_lost(count: int) -> None:
    records = [record(0, b"a"), record(1, b"b")]
    read = Read(Batch(records, last=1, count=count).encoded())
    assert read.records[-1].offset == 1
    assert b"".join(records).endswith(read.undecoded().value or b"?")
    assert read.next == 2


def test_nothing_is_handed_out_twice_when_a_batch_changes_in_its_middle() -> None:
    batch = Batch([*(record(at, b"%d" % at) for at in range(50)), field(b""), record(51, b"51")]).encoded()
    read = Read(batch)
    assert [each.offset for each in read.records] == list(range(52))
    assert [each.offset for each in Read(batch, offset=49).records] == [49, 50, 51]


@pytest.mark.parametrize("codec", [5, 6, 7])
def test_a_batch_with_an_unknown_codec_is_one_record(codec: int) -> None:
    batch = Batch([record(0, b"a"), record(1, b"b")], 40, codec, packed=b"something").encoded()
    read = Read(values(b"x", base=39) + batch + values(b"y", base=42), offset=39)
    assert read.shown == [(39, b"x"), (41, "cannot_decompress"), (42, b"y")]
    found = read.undecoded()
    assert (found.first_offset, found.value, found.content) == (40, batch, Content.BATCH)
    assert f"got number {codec}" in found.error.message
    assert "the offsets 40 to 41" in found.error.message


@pytest.mark.parametrize("codec", [1, 2, 3, 4])
@pytest.mark.parametrize("content", [b"", b"x", b"garbage" * 100, b"\x82SNAPPY\x00" + b"\xff" * 20])
def test_a_batch_that_cannot_be_decompressed_is_one_record(codec: int, content: bytes) -> None:
    batch = Batch([record(0, b"a"), record(1, b"b")], 40, codec, packed=content).encoded()
    read = Read(batch + values(b"y", base=42), offset=41)
    assert [each.offset for each in read.records] == [41, 42]
    assert (read.undecoded().first_offset, read.next, read.corrupt) == (41, 43, None)


@pytest.mark.parametrize("magic", [3, 100, -1])
def test_a_batch_of_an_unknown_format_with_the_right_checksum_is_one_record(magic: int) -> None:
    batch = Batch([record(0, b"a"), record(1, b"b")], 40, magic=magic).encoded()
    read = Read(batch + values(b"y", base=42), offset=40)
    assert read.shown == [(41, "unknown_format"), (42, b"y")]


# Sizes


def test_a_record_that_is_too_large_leaves_its_beginning_and_its_hash() -> None:
    large = bytes(range(256)) * 600
    batch = Batch([record(0, b"a"), record(1, large, b"key", [(b"h", b"v")]), record(2, b"c")])
    read = Read(batch.encoded())
    assert read.shown == [(0, b"a"), (1, "record_too_large"), (2, b"c")]
    found = read.undecoded()
    assert (found.key, found.value, found.headers) == (b"key", large[:KEPT_BYTES], (("h", b"v"),))
    assert found.truncation == Truncation(len(large), hashlib.sha256(large).hexdigest())
    assert found.content is Content.VALUE


def test_key_and_headers_that_are_too_large_are_not_kept() -> None:
    huge = b"x" * LIMIT
    read = Read(Batch([record(0, b"a", huge), record(1, None, b"k", [(b"h", huge)])]).encoded())
    first, second = read.records
    assert (first.key, first.value) == (None, b"a")
    assert (second.key, second.value, second.headers) == (b"k", None, ())
    assert {code for _, code in read.shown} == {"record_too_large"}


def test_many_small_records_may_take_more_than_one_large_one() -> None:
    content = values(*[b"x" * 1000] * 300, codec=4)
    assert [len(value or b"") for _, value in Read(content).shown] == [1000] * 300


@pytest.mark.parametrize("codec", [1, 2, 3, 4])
def test_a_bomb_is_not_unpacked(codec: int) -> None:
    content = b"\0" * 40_000_000
    packed = snappy_block(content) if codec == 2 else None
    batch = Batch([content], 10, codec, last=4, count=5, packed=packed).encoded()
    tracemalloc.start()
    try:
        read = Read(batch + values(b"y", base=15), offset=10, limit=1_000_000)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert read.shown == [(14, "batch_too_large"), (15, b"y")]
    assert most < 8_000_000
    assert "4 times KAFKA_MAX_RECORD_BYTES" in read.undecoded().error.message


# Damage


def test_a_wrong_checksum_ends_the_partition_behind_the_good_batches_before_it() -> None:
    bad = bytearray(values(b"b", base=1))
    bad[-1] ^= 1
    read = Read(values(b"a") + bytes(bad) + values(b"c", base=2))
    assert (read.shown, read.next) == ([(0, b"a")], 1)
    assert read.corrupt == (1, "the checksum of the batch is wrong")
    again = Read(bytes(bad) + values(b"c", base=2), offset=1)
    assert (again.shown, again.next, again.notes) == ([], 1, [(1, "the checksum of the batch is wrong")])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (HEADER.pack(0, 0, *[0] * 11), "expected a batch of 14 bytes or more, got the length 0"),
        (HEADER.pack(0, -5, *[0] * 11), "got the length -5"),
        (values(b"a")[:-1], "not complete"),
        (b"short", "not complete"),
        (signed(values(b"a"))[:8] + (20).to_bytes(4, "big") + values(b"a")[12:32], "expected a batch of 61 bytes"),
        (values(b"a", b"b"), "nothing that lies at this offset"),
    ],
)
def test_a_batch_whose_end_is_not_known_ends_the_partition(content: bytes, reason: str) -> None:
    read = Read(content, offset=9)
    assert (read.shown, read.next) == ([], 9)
    assert read.corrupt is not None
    assert reason in read.corrupt[1]


# Old formats


@pytest.mark.parametrize("magic", [0, 1])
def test_messages_of_old_formats_are_read(magic: int) -> None:
    read = Read(old_message(7, b"a", magic) + old_message(8, None, magic, key=None), offset=7)
    assert read.shown == [(7, b"a"), (8, None)]
    assert {each.timestamp for each in read.records} == {FIRST_TIME if magic else -1}
    assert read.next == 9


@pytest.mark.parametrize("codec", [1, 2, 3])
def test_compressed_messages_of_format_1_count_from_the_first(codec: int) -> None:
    inner = b"".join(old_message(at, b"%d" % at) for at in range(3))
    wrapper = old_message(12, bytes(CODECS[codec](inner)), key=None, attributes=codec)
    assert Read(wrapper, offset=11).shown == [(11, b"1"), (12, b"2")]


@pytest.mark.parametrize("value", [b"garbage", None, b""])
def test_a_message_of_an_old_format_that_cannot_be_decoded_is_one_record(value: bytes | None) -> None:
    wrapper = old_message(12, value, attributes=1)
    read = Read(wrapper + values(b"x", base=13), offset=11)
    assert [each.offset for each in read.records][-1] == 13
    assert read.next == 14


def test_a_wrong_checksum_of_an_old_message_ends_the_partition() -> None:
    message = bytearray(old_message(7, b"a"))
    message[-1] ^= 1
    assert Read(bytes(message), offset=7).corrupt == (7, "the checksum of the batch is wrong")


# Anything


@given(st.data())
def test_no_bytes_with_the_right_checksum_stop_a_partition(data: st.DataObject) -> None:
    batch = bytearray(Batch([record(at, b"value%d" % at, headers=[(b"h", b"v")]) for at in range(5)], 40).encoded())
    for _ in range(data.draw(st.integers(1, 6))):
        batch[data.draw(st.integers(57, len(batch) - 1))] = data.draw(st.integers(0, 255))
    read = Read(signed(bytes(batch)) + values(b"end", base=45), offset=40)
    offsets = [each.offset for each in read.records]
    assert offsets == sorted(set(offsets))
    assert read.shown[-1] == (45, b"end")
    assert (read.next, read.corrupt) == (46, None)


@given(st.binary(max_size=300), st.integers(0, 7))
def test_no_content_of_a_batch_stops_a_partition(content: bytes, codec: int) -> None:
    batch = Batch([b"", b""], 40, codec, packed=content).encoded()
    read = Read(batch + values(b"end", base=42), offset=40)
    assert read.shown[-1] == (42, b"end")
    assert all(40 <= offset < 42 for offset, _ in read.shown[:-1])


@given(st.binary(max_size=300))
def test_no_bytes_at_all_raise(content: bytes) -> None:
    read = Read(content)
    assert read.next >= 0

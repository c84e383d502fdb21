"""Batches of records as producers and brokers write them, and in every way that they should not."""

import struct
from binascii import crc32
from collections.abc import Sequence
from dataclasses import dataclass

import cramjam
from aiokafka.codec import gzip_encode, lz4_encode, snappy_encode, zstd_encode
from aiokafka.record.util import calc_crc32c

HEADER = struct.Struct(">qiibIhiqqqhii")
FIRST_TIME = 1_700_000_000_000
CODECS = {1: gzip_encode, 2: snappy_encode, 3: lz4_encode, 4: zstd_encode}


def snappy_block(data: bytes) -> bytes:
    """Snappy as other clients than the Java one write it."""
    return bytes(cramjam.snappy.compress_raw(data))


def varint(number: int) -> bytes:
    number = (number << 1) ^ (number >> 63)
    found = bytearray()
    while number > 0x7F:
        found.append((number & 0x7F) | 0x80)
        number >>= 7
    return bytes([*found, number])


def field(content: bytes | None) -> bytes:
    return varint(-1) if content is None else varint(len(content)) + content


def body(
    delta: int, value: bytes | None, key: bytes | None = b"k", headers: Sequence[tuple[bytes, bytes | None]] = ()
) -> bytes:
    """A record without its length."""
    told = b"".join(field(name) + field(content) for name, content in headers)
    return b"\x00" + varint(delta) + varint(delta) + field(key) + field(value) + varint(len(headers)) + told


def record(
    delta: int, value: bytes | None, key: bytes | None = b"k", headers: Sequence[tuple[bytes, bytes | None]] = ()
) -> bytes:
    """A record; its timestamp is as many milliseconds later as its offset."""
    return field(body(delta, value, key, headers))


@dataclass(frozen=True)
class Batch:
    """A batch of format 2; without `last` and `count`, those of its records."""

    records: Sequence[bytes]
    base: int = 0
    codec: int = 0
    last: int | None = None
    count: int | None = None
    attributes: int = 0
    producer: int = -1
    magic: int = 2
    packed: bytes | None = None
    time: int = FIRST_TIME

    def encoded(self) -> bytes:
        content = b"".join(self.records)
        if self.packed is not None:
            content = self.packed
        elif self.codec:
            content = bytes(CODECS[self.codec](content))
        count = len(self.records) if self.count is None else self.count
        last = len(self.records) - 1 if self.last is None else self.last
        header = HEADER.pack(
            self.base,
            HEADER.size - 12 + len(content),
            0,
            self.magic,
            0,
            self.attributes | self.codec,
            last,
            self.time,
            self.time + 1000,
            self.producer,
            0 if self.producer >= 0 else -1,
            0 if self.producer >= 0 else -1,
            count,
        )
        return signed(header + content)


def signed(batch: bytes) -> bytes:
    """The batch with the right checksum."""
    return batch[:17] + struct.pack(">I", calc_crc32c(batch[21:])) + batch[21:]


def values(*found: bytes, base: int = 0, codec: int = 0) -> bytes:
    """A batch with these values."""
    return Batch([record(delta, value) for delta, value in enumerate(found)], base, codec).encoded()


def old_message(
    offset: int, value: bytes | None, magic: int = 1, key: bytes | None = b"k", attributes: int = 0
) -> bytes:
    """A message of format 0 or 1."""
    rest = struct.pack(">bb", magic, attributes) + (struct.pack(">q", FIRST_TIME) if magic else b"")
    for content in (key, value):
        rest += struct.pack(">i", -1) if content is None else struct.pack(">i", len(content)) + content
    return struct.pack(">qiI", offset, len(rest) + 4, crc32(rest)) + rest


def marker(base: int, producer: int, *, abort: bool) -> bytes:
    """The end of a transaction."""
    key = struct.pack(">hh", 0, 0 if abort else 1)
    return Batch([record(0, b"\0" * 6, key)], base, attributes=0x30, producer=producer).encoded()

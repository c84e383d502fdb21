"""Decompresses the batches of Kafka into a buffer of a limited size: what does not fit is refused while it unpacks."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Mapping
from typing import Final

import cramjam

GZIP: Final = 1
SNAPPY: Final = 2
LZ4: Final = 3
ZSTD: Final = 4

CODECS: Final[Mapping[int, str]] = {GZIP: "gzip", SNAPPY: "snappy", LZ4: "lz4", ZSTD: "zstd"}
"""The codecs that Kafka knows, by the number in a batch's attributes."""

XERIAL: Final = b"\x82SNAPPY\x00"
"""The beginning of a snappy stream in blocks, as the Java client writes it; other clients write a single block."""

XERIAL_HEADER_BYTES: Final = 16

GZIP_STREAM: Final = 16 + zlib.MAX_WBITS
"""The argument that makes zlib expect gzip's header and checksum."""

CHUNK_BYTES: Final = 256 * 1024
"""Bytes that gzip decompresses at once."""

FULL: Final = "failed to write whole buffer"
"""What cramjam says when the output does not fit into the buffer."""


class CannotUnpack(Exception):
    """The content is not what its codec says."""


class TooLarge(CannotUnpack):
    """The content does not fit into the buffer."""


FIRST_RATIO: Final = 8
"""How much larger than the content the first buffer is; each further one is larger by this factor."""

LEAST_BUFFER: Final = 4096


def unpacked(codec: int, content: memoryview, limit: int, prefix: bytes) -> memoryview:
    """The prefix, and then what the content decompresses to. Raises TooLarge over `limit` bytes, or CannotUnpack."""
    size = min(limit, max(LEAST_BUFFER, FIRST_RATIO * len(content)))
    while True:
        buffer = memoryview(bytearray(len(prefix) + size))
        try:
            found = unpack(codec, content, buffer[len(prefix) :])
        except TooLarge:
            del buffer
            if size == limit:
                raise
            size = min(limit, size * FIRST_RATIO)
        else:
            buffer[: len(prefix)] = prefix
            return buffer[: len(prefix) + found]


def unpack(codec: int, content: memoryview, target: memoryview) -> int:
    """Decompress into `target`; returns how many bytes that gave. Raises TooLarge or CannotUnpack."""
    unpacker = _UNPACKERS.get(codec)
    if unpacker is None:
        raise CannotUnpack(f"expected the codec {', '.join(CODECS.values())}, got number {codec}")
    try:
        return unpacker(content, target)
    except (cramjam.DecompressionError, zlib.error, struct.error, ValueError) as error:
        if FULL in str(error):
            raise TooLarge from None
        raise CannotUnpack(f"{CODECS[codec]}: {error}") from None


def _gzip(content: memoryview, target: memoryview) -> int:
    size = 0
    rest: bytes | memoryview = content
    while rest:
        stream = zlib.decompressobj(GZIP_STREAM)
        while not stream.eof:
            piece = stream.decompress(rest, CHUNK_BYTES)
            rest = stream.unconsumed_tail
            if not piece and not rest and not stream.eof:
                raise CannotUnpack("gzip: the stream ends too early")
            if size + len(piece) > len(target):
                raise TooLarge
            target[size : size + len(piece)] = piece
            size += len(piece)
        rest = stream.unused_data.lstrip(b"\0")
    return size


def _snappy(content: memoryview, target: memoryview) -> int:
    if bytes(content[: len(XERIAL)]) != XERIAL:
        return _snappy_block(content, target)
    size, at = 0, XERIAL_HEADER_BYTES
    while at < len(content):
        (length,) = struct.unpack_from(">i", content, at)
        at += 4
        if not 0 < length <= len(content) - at:
            raise CannotUnpack(f"snappy: expected a block of 1 to {len(content) - at} bytes, got {length}")
        size += _snappy_block(content[at : at + length], target[size:])
        at += length
    return size


def _snappy_block(content: memoryview, target: memoryview) -> int:
    """The length is at the beginning of a block: nothing is unpacked that does not fit."""
    size: int = cramjam.snappy.decompress_raw_len(content)
    if size > len(target):
        raise TooLarge
    return int(cramjam.snappy.decompress_raw_into(content, target)) if size else 0


def _lz4(content: memoryview, target: memoryview) -> int:
    return int(cramjam.lz4.decompress_into(content, target))


def _zstd(content: memoryview, target: memoryview) -> int:
    return int(cramjam.zstd.decompress_into(content, target))


_UNPACKERS: Final[Mapping[int, Callable[[memoryview, memoryview], int]]] = {
    GZIP: _gzip,
    SNAPPY: _snappy,
    LZ4: _lz4,
    ZSTD: _zstd,
}

"""What to generate: every knob that changes the events, and nothing else."""

import hashlib
import secrets
import time
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Final, Literal, get_args

import msgspec

from activity_loadgen.invalid import ALL_KINDS

TRANSACTION_TYPES: Final = ("card", "p2p", "crypto")
Timestamps = Literal["seconds", "microseconds", "nanoseconds"]
TIMESTAMPS: Final = get_args(Timestamps)
DEFAULT_SERVERS: Final = "localhost:9092"
MAX_USERS: Final = 1_000_000
MAX_PAYLOAD_BYTES: Final = 900_000
MAX_UPDATES_PER_TRANSACTION: Final = 100.0
SEED_BITS: Final = 53
UNPACED_TICK_US: Final = 100
_LATER_OPTIONS: Final[dict[str, Any]] = {
    "trace_ratio": None,
    "tie_ratio": 0.0,
    "scatter_ratio": 0.0,
    "timestamps": "microseconds",
}
"""Options that came after the first release, with their defaults."""


class OptionError(ValueError):
    """An option has a value that cannot work; `option` is its command line name."""

    def __init__(self, option: str, expected: str, got: object) -> None:
        super().__init__(f"expected {expected}, got {got!r}")
        self.option = option


def default_mix() -> dict[str, float]:
    """Shares of the transaction types when nothing else is given."""
    return {"card": 0.6, "p2p": 0.25, "crypto": 0.15}


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """Options of one run. The same values (seed and start included) give the same bytes in the same order.

    Ratios are shares of the transactions, `tie_ratio` of the updates and `scatter_ratio` of the events; `timestamps` is
    the unit that event timestamps are cut to. With a `trace_ratio` every event is part of a trace, and that share of
    them is sampled; `start_us` is the first event's timestamp in epoch microseconds;
    `rate` is in events per second and, besides pacing, sets how far apart the timestamps are; `spread` is
    how many transactions may lie between two events of one transaction.
    """

    count: int | None = 1000
    user_id: str = "test_user_123"
    update_ratio: float = 0.1
    delete_ratio: float = 0.0
    duplicate_ratio: float = 0.0
    tie_ratio: float = 0.0
    scatter_ratio: float = 0.0
    late_ratio: float = 0.0
    invalid_ratio: float = 0.0
    traceparent_ratio: float = 0.0
    trace_ratio: float | None = None
    users: int = 1
    user_skew: float = 1.0
    type_mix: dict[str, float] = field(default_factory=default_mix)
    invalid_kinds: tuple[str, ...] = ()
    payload_bytes: int = 0
    rate: float | None = None
    spread: int = 50
    timestamps: Timestamps = "microseconds"
    seed: int = field(default_factory=lambda: secrets.randbits(SEED_BITS))
    start_us: int = field(default_factory=lambda: time.time_ns() // 1000)

    def __post_init__(self) -> None:
        """Refuse what cannot work.

        Raises:
            OptionError: naming the option, what it wants and what it got.
        """
        _check_numbers(self)
        _check_mix(self.type_mix)
        _check_user_id(self.user_id)
        unknown = sorted(set(self.invalid_kinds) - set(ALL_KINDS))
        if unknown:
            raise OptionError("--invalid-kind", "one of " + ", ".join(ALL_KINDS), unknown[0])
        if self.timestamps not in TIMESTAMPS:
            raise OptionError("--timestamps", "one of " + ", ".join(TIMESTAMPS), self.timestamps)

    @property
    def run(self) -> str:
        """The run's id, which every event carries in `metadata.load_run`: a digest of all options."""
        options = asdict(self)
        for name, default in _LATER_OPTIONS.items():  # the bytes of a seed stay the same
            if options[name] == default:
                del options[name]
        text = msgspec.json.encode(options, order="sorted")
        return "run-" + hashlib.blake2b(text, digest_size=8).hexdigest()

    @property
    def tick_us(self) -> int:
        """Microseconds between the timestamps of two transactions that follow each other."""
        if self.rate is None:
            return UNPACED_TICK_US
        return max(1, round(self.events_per_transaction / self.rate * 1_000_000))

    @property
    def events_per_transaction(self) -> float:
        """How many events a transaction has on average, close enough for timestamps and progress."""
        extra = self.update_ratio * (1 + self.tie_ratio) + self.delete_ratio + self.duplicate_ratio + self.invalid_ratio
        return 1 + extra + self.late_ratio * max(0.0, 1 - self.update_ratio - self.delete_ratio)


def parse_mix(text: str) -> dict[str, float]:
    """Read `card=6,p2p=3,crypto=1` into shares; a type that is not named gets none.

    Raises:
        OptionError: when the text is not of that form.
    """
    mix = dict.fromkeys(TRANSACTION_TYPES, 0.0)
    for part in text.split(","):
        name, _, share = part.partition("=")
        if name.strip() not in mix:
            raise OptionError("--type-mix", "types out of " + ", ".join(TRANSACTION_TYPES), name.strip())
        try:
            mix[name.strip()] = float(share)
        except ValueError:
            raise OptionError("--type-mix", f"a number after {name.strip()}=", share) from None
    _check_mix(mix)
    return mix


def _check_user_id(user_id: str) -> None:
    try:
        user_id.encode()
    except UnicodeEncodeError:
        raise OptionError("--user-id", "text that UTF-8 can hold", user_id) from None
    if not user_id:
        raise OptionError("--user-id", "a text that is not empty", user_id)


def _check_mix(mix: dict[str, float]) -> None:
    wanted = "shares of card, p2p and crypto, none negative and one positive"
    if not set(mix) <= set(TRANSACTION_TYPES) or not 0 < sum(mix.values()) < float("inf"):
        raise OptionError("--type-mix", wanted, mix)
    if any(share < 0 for share in mix.values()):
        raise OptionError("--type-mix", wanted, mix)


_LIMITS: Final[dict[str, tuple[float, float]]] = {
    "count": (0, float("inf")),
    "update_ratio": (0, MAX_UPDATES_PER_TRANSACTION),
    "delete_ratio": (0, 1),
    "duplicate_ratio": (0, 1),
    "tie_ratio": (0, 1),
    "scatter_ratio": (0, 1),
    "late_ratio": (0, 1),
    "invalid_ratio": (0, 1),
    "traceparent_ratio": (0, 1),
    "trace_ratio": (0, 1),
    "users": (1, MAX_USERS),
    "user_skew": (0, 10),
    "payload_bytes": (0, MAX_PAYLOAD_BYTES),
    "rate": (0.001, 1_000_000),
    "spread": (0, 1_000_000),
    "start_us": (1, 253_402_300_799_999_999),
}


def _check_numbers(options: LoadOptions) -> None:
    for item in fields(options):
        value = getattr(options, item.name)
        low, high = _LIMITS.get(item.name, (0, 0))
        if item.name in _LIMITS and value is not None and not low <= value <= high:
            flag = "--start-time" if item.name == "start_us" else "--" + item.name.replace("_", "-")
            raise OptionError(flag, f"a number from {low:g} to {high:g}", value)

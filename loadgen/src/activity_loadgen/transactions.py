"""Makes one transaction: a card payment, a transfer between users, or a crypto movement.

A transaction is kept as JSON text in parts, because its text is most of what an event costs: the words are encoded once
for a run, and an update shares every part with the transaction before except those that it changes.
"""

import random
from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec

from activity_loadgen import vocabulary as words

# Shares of transactions whose amount is a refund, and one that a 64-bit float cannot hold.
REFUND_SHARE: Final = 0.04
HUGE_AMOUNT_SHARE: Final = 0.002
MAX_MINOR_UNITS: Final = 250_000
BEYOND_DOUBLE: Final = 2**53 + 1
OTHER_AMOUNT_SHARE: Final = 0.25
"""Updates that change the amount, too."""


class User(NamedTuple):
    """A user id: as it is, as a record's key, and as JSON."""

    id: str
    key: bytes
    json: str


class Transaction(msgspec.Struct, frozen=True, gc=False):
    """A transaction in parts: JSON text, except the id, the user and the decimals of the currency.

    `head` ends where the status begins, and `tail` begins with what follows the amount; the tail ends within the
    metadata, so that more members can follow.
    """

    id: str
    user: User
    decimals: int
    head: str
    status: str
    currency: str
    amount: str
    tail: str
    revision: str = ""


class TransactionMaker:
    """Makes the transactions of a run and what becomes of them."""

    def __init__(self, rng: random.Random, run: str) -> None:
        self._random = rng.random
        self._bits = rng.getrandbits
        self._run = _json(run)
        self._currencies = [(f',"currency":{_json(name)},"amount":', decimals) for name, decimals in words.CURRENCIES]
        self._first = [_json(status) for status in words.FIRST_STATUSES]
        self._later = [_json(status) for status in words.LATER_STATUSES]
        self._types: dict[str, tuple[str, Callable[[], str]]] = {
            kind: (f',"transaction_type":{_json(kind)},"product":{_json(words.PRODUCTS[kind])},"status":', metadata)
            for kind, metadata in (("card", self._card), ("p2p", self._p2p), ("crypto", self._crypto))
        }
        self._merchants = [
            _members(
                merchant_name=each.name,
                merchant_category_code=each.mcc,
                merchant_city=each.city,
                merchant_country=each.country,
            )
            for each in words.MERCHANTS
        ]
        self._card_networks = [_members(card_network=name) for name in words.CARD_NETWORKS]
        self._entry_modes = [_members(entry_mode=name) for name in words.ENTRY_MODES]
        self._given_names = [_json(name)[:-1] for name in words.GIVEN_NAMES]
        self._family_names = [_json(name)[1:] for name in words.FAMILY_NAMES]
        self._channels = [_members(channel=name) for name in words.CHANNELS]
        self._notes = [_members(note=text) for text in words.NOTES]
        self._assets = [(_members(asset=each.symbol, asset_name=each.name), each) for each in words.ASSETS]
        self._sides = [_members(side=name) for name in words.SIDES]

    def make(self, kind: str, user: User, created_at: str) -> Transaction:
        """A whole transaction; `kind` is card, p2p or crypto, and `created_at` is RFC 3339."""
        random = self._random
        currency, decimals = self._currencies[int(random() * len(self._currencies))]
        transaction_id = self._uuid()
        typed, metadata = self._types[kind]
        return Transaction(
            transaction_id,
            user,
            decimals,
            f'{{"id":"{transaction_id}","user_id":{user.json}{typed}',
            self._first[int(random() * len(self._first))],
            currency,
            self._amount(decimals),
            f',"created_at":"{created_at}","metadata":{{{metadata()},"load_run":{self._run}',
        )

    def change(self, before: Transaction, number: int) -> Transaction:
        """The whole transaction after its `number`-th update: another status, sometimes another amount."""
        random = self._random
        status = self._later[int(random() * len(self._later))]
        amount = before.amount
        if random() < OTHER_AMOUNT_SHARE:
            amount = self._amount(before.decimals)
        return msgspec.structs.replace(before, status=status, amount=amount, revision=f',"revision":"{number}"')

    def cancel(self, transaction: Transaction) -> Transaction:
        """The transaction as its deletion shows it."""
        return msgspec.structs.replace(transaction, status='"cancelled"')

    def _uuid(self) -> str:
        """A version 4 UUID."""
        text = f"{self._bits(128):032x}"
        return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:]}"

    def _amount(self, decimals: int) -> str:
        """An amount as exact JSON text with the currency's decimals, trailing zeros kept."""
        random = self._random
        if random() < HUGE_AMOUNT_SHARE:
            return str(BEYOND_DOUBLE + 2 * int(random() * 1_000_000))
        units = 1 + int(random() ** 3 * MAX_MINOR_UNITS)
        return decimal_text(-units if random() < REFUND_SHARE else units, decimals)

    def _card(self) -> str:
        random = self._random
        merchants, networks, modes = self._merchants, self._card_networks, self._entry_modes
        return (
            f'{merchants[int(random() * len(merchants))]},"card_last_four":"{int(random() * 10_000):04d}",'
            f"{networks[int(random() * len(networks))]},{modes[int(random() * len(modes))]}"
        )

    def _p2p(self) -> str:
        random = self._random
        given, family, channels, notes = self._given_names, self._family_names, self._channels, self._notes
        direction = "sent" if random() < 0.5 else "received"
        return (
            f'"direction":"{direction}","peer_id":"peer_{int(random() * 100_000):05d}",'
            f'"peer_name":{given[int(random() * len(given))]} {family[int(random() * len(family))]},'
            f"{channels[int(random() * len(channels))]},{notes[int(random() * len(notes))]}"
        )

    def _crypto(self) -> str:
        random = self._random
        named, asset = self._assets[int(random() * len(self._assets))]
        network = asset.networks[int(random() * len(asset.networks))]
        side = self._sides[int(random() * len(self._sides))]
        quantity = decimal_text(1 + int(random() ** 4 * 25 * 10**asset.decimals), asset.decimals)
        digits = f"{self._bits(160):040x}"
        address = f"bc1q{digits[:38]}" if network in {"bitcoin", "lightning"} else f"0x{digits}"
        return f'{named},"network":"{network}",{side},"quantity":"{quantity}","wallet_address":"{address}"'


def decimal_text(units: int, decimals: int) -> str:
    """`units` of the smallest part as decimal text: (1050, 2) is 10.50."""
    if decimals == 0:
        return str(units)
    text = f"{units:0{decimals + 1 + (units < 0)}d}"
    return f"{text[:-decimals]}.{text[-decimals:]}"


def make_user(user_id: str) -> User:
    """A user with this id."""
    return User(user_id, user_id.encode(), _json(user_id))


def _json(text: str) -> str:
    return msgspec.json.encode(text).decode()


def _members(**members: str) -> str:
    """The members of an object as JSON, without its braces."""
    return msgspec.json.encode(members)[1:-1].decode()

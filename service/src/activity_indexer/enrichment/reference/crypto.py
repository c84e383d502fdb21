"""Crypto assets by symbol and name, and networks by the names that wallets give them."""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Final, NamedTuple

from activity_indexer.enrichment.text import plain_words

LONGEST_SYMBOL: Final = 12
LONGEST_NAME: Final = 64


class Asset(NamedTuple):
    """An asset; `network` is its own, empty when it lives on several."""

    symbol: str
    name: str
    network: str = ""


_ASSETS: Final = (
    Asset("1INCH", "1inch"),
    Asset("AAVE", "Aave"),
    Asset("ADA", "Cardano", "Cardano"),
    Asset("ALGO", "Algorand", "Algorand"),
    Asset("APE", "ApeCoin"),
    Asset("APT", "Aptos", "Aptos"),
    Asset("ARB", "Arbitrum", "Arbitrum One"),
    Asset("ATOM", "Cosmos", "Cosmos Hub"),
    Asset("AVAX", "Avalanche", "Avalanche"),
    Asset("AXS", "Axie Infinity"),
    Asset("BAT", "Basic Attention Token"),
    Asset("BCH", "Bitcoin Cash", "Bitcoin Cash"),
    Asset("BNB", "BNB", "BNB Smart Chain"),
    Asset("BONK", "Bonk", "Solana"),
    Asset("BTC", "Bitcoin", "Bitcoin"),
    Asset("BUSD", "Binance USD"),
    Asset("CRO", "Cronos", "Cronos"),
    Asset("CRV", "Curve DAO Token"),
    Asset("DAI", "Dai"),
    Asset("DASH", "Dash", "Dash"),
    Asset("DOGE", "Dogecoin", "Dogecoin"),
    Asset("DOT", "Polkadot", "Polkadot"),
    Asset("EGLD", "MultiversX", "MultiversX"),
    Asset("EOS", "EOS", "EOS"),
    Asset("ETC", "Ethereum Classic", "Ethereum Classic"),
    Asset("ETH", "Ethereum", "Ethereum"),
    Asset("EURC", "Euro Coin"),
    Asset("FIL", "Filecoin", "Filecoin"),
    Asset("FTM", "Fantom", "Fantom"),
    Asset("GRT", "The Graph"),
    Asset("HBAR", "Hedera", "Hedera"),
    Asset("ICP", "Internet Computer", "Internet Computer"),
    Asset("IMX", "Immutable"),
    Asset("INJ", "Injective", "Injective"),
    Asset("LDO", "Lido DAO"),
    Asset("LINK", "Chainlink"),
    Asset("LTC", "Litecoin", "Litecoin"),
    Asset("MANA", "Decentraland"),
    Asset("MKR", "Maker"),
    Asset("NEAR", "NEAR Protocol", "NEAR"),
    Asset("OP", "Optimism", "Optimism"),
    Asset("PAXG", "PAX Gold"),
    Asset("PEPE", "Pepe"),
    Asset("POL", "Polygon", "Polygon"),
    Asset("PYUSD", "PayPal USD"),
    Asset("SAND", "The Sandbox"),
    Asset("SEI", "Sei", "Sei"),
    Asset("SHIB", "Shiba Inu"),
    Asset("SOL", "Solana", "Solana"),
    Asset("STX", "Stacks", "Stacks"),
    Asset("SUI", "Sui", "Sui"),
    Asset("TON", "Toncoin", "TON"),
    Asset("TRX", "TRON", "Tron"),
    Asset("TUSD", "TrueUSD"),
    Asset("UNI", "Uniswap"),
    Asset("USDC", "USD Coin"),
    Asset("USDP", "Pax Dollar"),
    Asset("USDT", "Tether"),
    Asset("VET", "VeChain", "VeChain"),
    Asset("WBTC", "Wrapped Bitcoin"),
    Asset("XLM", "Stellar", "Stellar"),
    Asset("XMR", "Monero", "Monero"),
    Asset("XRP", "XRP", "XRP Ledger"),
    Asset("XTZ", "Tezos", "Tezos"),
    Asset("ZEC", "Zcash", "Zcash"),
)

_OTHER_NAMES: Final = {
    "ether": "ETH",
    "lumens": "XLM",
    "matic": "POL",
    "ripple": "XRP",
    "tether usd": "USDT",
    "ton coin": "TON",
    "usd tether": "USDT",
    "xbt": "BTC",
}

_NETWORKS: Final = {
    "Algorand": "algo algorand",
    "Aptos": "apt aptos",
    "Arbitrum One": "arb arbitrum arbitrumone arb1",
    "Avalanche": "avax avalanche avalanchecchain avaxc cchain",
    "Base": "base basechain",
    "Bitcoin": "btc bitcoin btcmainnet bitcoinmainnet",
    "Bitcoin Cash": "bch bitcoincash",
    "BNB Smart Chain": "bnb bsc bep20 bnbchain bnbsmartchain binancesmartchain",
    "Cardano": "ada cardano",
    "Cosmos Hub": "atom cosmos cosmoshub",
    "Dogecoin": "doge dogecoin",
    "Ethereum": "eth erc20 ethereum ethmainnet ethereummainnet ethereumerc20",
    "Ethereum Classic": "etc ethereumclassic",
    "Fantom": "ftm fantom",
    "Lightning": "lightning lightningnetwork ln btcln",
    "Litecoin": "ltc litecoin",
    "Monero": "xmr monero",
    "NEAR": "near nearprotocol",
    "Optimism": "op optimism opmainnet",
    "Polkadot": "dot polkadot",
    "Polygon": "matic pol polygon polygonpos",
    "Solana": "sol solana spl",
    "Stellar": "xlm stellar",
    "Sui": "sui",
    "TON": "ton toncoin theopennetwork",
    "Tron": "trx trc20 tron trontrc20",
    "XRP Ledger": "xrp xrpl xrpledger ripple",
    "zkSync Era": "zksync zksyncera",
}


@lru_cache(maxsize=1024)
def asset_of(text: str) -> Asset | None:
    """The asset with this symbol or name, or the first of a pair such as BTC/USD; None when it is not known."""
    if len(text) > LONGEST_NAME:
        return None
    words = plain_words(text)
    listed = _by_word()
    return listed.get(words) or (listed.get(words.partition(" ")[0]) if "/" in text or "-" in text else None)


@lru_cache(maxsize=1024)
def network_of(text: str) -> str:
    """The network that a producer means; its own word when it is not known."""
    return _networks().get(plain_words(text).replace(" ", ""), text)


@cache
def _by_word() -> dict[str, Asset]:
    symbols = {asset.symbol: asset for asset in _ASSETS}
    names = {plain_words(asset.name): asset for asset in _ASSETS}
    others = {name: symbols[symbol] for name, symbol in _OTHER_NAMES.items()}
    return names | others | {plain_words(symbol): asset for symbol, asset in symbols.items()}


@cache
def _networks() -> dict[str, str]:
    return {word: network for network, words in _NETWORKS.items() for word in words.split()}

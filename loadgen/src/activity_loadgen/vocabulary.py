"""The words the synthetic transactions are made of. Persons and most shops are made up."""

from typing import Final, NamedTuple


class Merchant(NamedTuple):
    """A merchant as a card network would print it, with its ISO 18245 category code."""

    name: str
    mcc: str
    city: str
    country: str


class Asset(NamedTuple):
    """A crypto asset: ticker, name, decimals it is counted in, and the networks it moves on."""

    symbol: str
    name: str
    decimals: int
    networks: tuple[str, ...]


MERCHANTS: Final = (
    Merchant("STARBUCKS #1234 SEATTLE", "5814", "Seattle", "US"),
    Merchant("Café São Paulo", "5814", "São Paulo", "BR"),
    Merchant("SQ *BLUE KETTLE COFFEE", "5814", "Portland", "US"),
    Merchant("Panadería Ñandú", "5462", "Montevideo", "UY"),
    Merchant("Crème & Crépuscule", "5462", "Montréal", "CA"),
    Merchant("BÄCKEREI ÜBERMUT 0042", "5462", "Köln", "DE"),
    Merchant("Smørrebrød & Søn", "5812", "København", "DK"),
    Merchant("TST* THE  TIPSY  OTTER", "5813", "Dublin", "IE"),
    Merchant("Trattoria Perché No?", "5812", "Bologna", "IT"),
    Merchant("鮨処 みなと", "5812", "大阪", "JP"),
    Merchant("Кафе «Ёлочка»", "5812", "София", "BG"),
    Merchant("PAYPAL *MOONBEAMGAMES", "5816", "Tallinn", "EE"),
    Merchant("GRN GROCER 00017   LISBOA", "5411", "Lisboa", "PT"),
    Merchant("Mercado Coração Verde", "5411", "Porto Alegre", "BR"),
    Merchant("O'Malley's Hardware & Paint", "5251", "Boston", "US"),
    Merchant('The "Quoted" Bookshop', "5942", "Hay", "GB"),
    Merchant("Librería El Búho\\Zorro", "5942", "Bogotá", "CO"),
    Merchant("FARMACIA DEL ÁNGEL", "5912", "Quito", "EC"),
    Merchant("PETROL-ŞENLİK 77", "5541", "İzmir", "TR"),
    Merchant("Zweirad Großmann GmbH", "5940", "Zürich", "CH"),
    Merchant("METRO*TRANSIT 8844", "4111", "Minneapolis", "US"),
    Merchant("Hôtel de l'Étoile", "7011", "Nîmes", "FR"),
    Merchant("CLOUDBERRY AIR  ECONOMY", "4511", "Helsinki", "FI"),
    Merchant("streamfern.example/bill", "4899", "Ghent", "BE"),
    Merchant("Gym Półmetek", "7997", "Łódź", "PL"),
    Merchant("Kino Dvořiště 🎬", "7832", "Brno", "CZ"),
)
CARD_NETWORKS: Final = ("visa", "mastercard", "amex", "elo", "discover")
ENTRY_MODES: Final = ("chip", "contactless", "ecommerce", "swipe")
GIVEN_NAMES: Final = (
    "Juniper", "Wren", "Saffron", "Lark", "Bramble", "Açaí", "Jalapeño", "Edelweiß", "Thistle", "Sorrel",
    "Marten", "Kestrel", "Ocelot", "Tapir", "Quetzal", "Narwhal", "Ñandú", "Žába", "Élan", "Ibex",
    "Tansy", "Yarrow", "Clover", "Vervain", "Gryphon", "Selkie", "Kraken", "Wyvern", "Dryad", "Púca",
)  # fmt: skip
FAMILY_NAMES: Final = (
    "Fernwood", "Thistledown", "Mossgrøve", "Brambleby", "Otterbrook", "Hollowoak", "Del Río Azul",
    "von Krähennest", "O'Reed", "Ash-Willow", "Dewdrop", "Şimşek-Taş", "Nightjar", "Stoneclover",
)  # fmt: skip
NOTES: Final = (
    "rent for Juni", "🍕 pizza night", "thanks!", "half of the taxi", "Geburtstag, alles Gute", "",
    "cumpleaños de la tía", "split: dinner / drinks", 'the "good" seats', "お土産代", "line one\nline two",
)  # fmt: skip
CHANNELS: Final = ("username", "phone", "email", "qr")
ASSETS: Final = (
    Asset("BTC", "Bitcoin", 8, ("bitcoin", "lightning")),
    Asset("ETH", "Ether", 18, ("ethereum", "arbitrum", "base")),
    Asset("USDC", "USD Coin", 6, ("ethereum", "solana", "polygon", "base")),
    Asset("USDT", "Tether", 6, ("tron", "ethereum")),
    Asset("SOL", "Solana", 9, ("solana",)),
    Asset("DOGE", "Dogecoin", 8, ("dogecoin",)),
)
SIDES: Final = ("buy", "sell", "deposit", "withdrawal")
# Decimals each currency is counted in (ISO 4217).
CURRENCIES: Final = (
    ("USD", 2), ("EUR", 2), ("BRL", 2), ("GBP", 2), ("JPY", 0), ("ARS", 2), ("CLP", 0), ("KWD", 3), ("IDR", 2),
)  # fmt: skip
PRODUCTS: Final = {"card": "Card", "p2p": "P2P", "crypto": "Crypto"}
FIRST_STATUSES: Final = ("completed", "completed", "completed", "pending", "pending", "authorized")
LATER_STATUSES: Final = ("completed", "refunded", "disputed", "failed", "settled")

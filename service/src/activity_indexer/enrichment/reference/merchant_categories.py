"""Merchant category codes (ISO 18245) to the categories that users filter by."""

from __future__ import annotations

import re
from functools import cache
from typing import Final

from activity_indexer.enrichment.vocabulary import word

_CODES: Final = {
    "airlines": "3000-3350 4511",
    "automotive": "5013 5271 5511 5521 5531-5533 5551 5561 5571 5592 5598 5599 7531 7534 7535 7538 7542 7549",
    "books_and_media": "2741 5192 5735 5942 5994",
    "business_services": "2791 2842 5021 5039 5044 5046 5065 5072 5074 5085 5099 5111 5169 5199 5943 7276 7277 7296"
    " 7311 7321 7333 7338 7339 7349 7361 7375 7379 7392-7395 7399 8111 8911 8931 8999",
    "car_rental": "3351-3500 7512 7513 7519",
    "cash": "6010 6011",
    "charity": "8398",
    "clothing": "5094 5131 5137 5139 5611 5621 5631 5641 5651 5655 5661 5681 5691 5697-5699 5931 5944 5948 5949",
    "digital": "5734 5815-5818 7372 4816",
    "education": "8211 8220 8241 8244 8249 8299 8351",
    "electronics": "5732 7622 5045 5946",
    "entertainment": "5733 5736 7829 7832 7833 7841 7911 7922 7929 7932 7933 7991 7993 7994 7996 7998 7999 8664",
    "fast_food": "5814",
    "financial_services": "6012 6050 6211 6513",
    "crypto": "6051",
    "fuel": "5172 5541 5542 5552 5983",
    "gambling": "7800-7802 7995",
    "government": "9211 9222 9223 9311 9399 9402 9405 9406",
    "groceries": "5298 5297 5411 5422 5441 5451 5462 5499",
    "health": "4119 5047 5975 5976 8011 8021 8031 8041-8043 8049 8050 8062 8071 8099 0742",
    "home": "0763 0780 1520 1711 1731 1740 1750 1761 1771 1799 5051 5198 5200 5211 5231 5251 5261 5712-5714 5718 5719"
    " 5722 5996 7217 7623 7629 7631 7641 7692 7699 5193 5992",
    "insurance": "5960 6300 6381 6399",
    "liquor": "5921",
    "lodging": "3501-3999 7011 7012 7032 7033",
    "money_transfer": "4829 6532-6540",
    "parking": "7523 7524",
    "personal_care": "5977 7210 7211 7216 7221 7230 7251 7261 7273 7297 7298",
    "pets": "5995",
    "pharmacies": "5122 5912",
    "restaurants": "5811 5812 5813",
    "shopping": "5262 5300 5309-5311 5331 5399 5932 5933 5935 5937 5940 5945 5947 5950 5962-5973 5978 5993 5997-5999",
    "sports": "5941 7941 7992 7997",
    "telecom": "4812 4813 4814 4821 4899",
    "transport": "4011 4111 4112 4121 4131 4784 4789",
    "travel": "4411 4457 4468 4582 4722 4723",
    "utilities": "4900",
}

_ALIASES: Final = {
    "accommodation": "lodging",
    "airline": "airlines",
    "apparel": "clothing",
    "atm": "cash",
    "bar": "restaurants",
    "cafe": "restaurants",
    "coffee": "restaurants",
    "coffee_shop": "restaurants",
    "dining": "restaurants",
    "eating_out": "restaurants",
    "fashion": "clothing",
    "flights": "airlines",
    "food": "restaurants",
    "food_and_drink": "restaurants",
    "food_drink": "restaurants",
    "gas": "fuel",
    "gas_station": "fuel",
    "grocery": "groceries",
    "healthcare": "health",
    "hotel": "lodging",
    "hotels": "lodging",
    "petrol": "fuel",
    "pharmacy": "pharmacies",
    "restaurant": "restaurants",
    "retail": "shopping",
    "ride_sharing": "transport",
    "rideshare": "transport",
    "streaming": "entertainment",
    "supermarket": "groceries",
    "supermarkets": "groceries",
    "taxi": "transport",
    "transportation": "transport",
}

_CODE: Final = re.compile(r"\d{3,4}", re.ASCII)


def code_of(text: str) -> str | None:
    """The four digits of a merchant category code; None when the text is none."""
    return text.zfill(4) if _CODE.fullmatch(text) else None


def category_of_code(code: str) -> str | None:
    """The category of a four-digit code; None when it is not known."""
    return _categories().get(int(code))


def category_of_text(text: str) -> str | None:
    """Our word for a producer's category; its own, as a word, when we have none."""
    known = word(text)
    return _ALIASES.get(known, known) or None


@cache
def _categories() -> dict[int, str]:
    return {code: category for category, codes in _CODES.items() for code in _expand(codes)}


def _expand(codes: str) -> list[int]:
    ranges = [listed.partition("-") for listed in codes.split()]
    return [code for first, _, last in ranges for code in range(int(first), int(last or first) + 1)]

"""Well-known merchants: their name, and what they sell."""

from __future__ import annotations

from functools import cache
from typing import Final

from activity_indexer.enrichment.text import plain_words

_KNOWN: Final = {
    "airlines": "Aerolíneas Argentinas|Air France|American Airlines|Avianca|Azul|British Airways|Copa Airlines|"
    "Delta Air Lines|easyJet|Emirates|GOL|Iberia|KLM|LATAM|Lufthansa|Ryanair|Southwest|Turkish Airlines|"
    "United Airlines|Wizz Air",
    "car_rental": "Avis|Enterprise Rent-A-Car|Europcar|Hertz|Localiza|Sixt",
    "clothing": "Adidas|C&A|Decathlon|Foot Locker|GAP|H&M|Lojas Renner|Mango|Nike|Primark|Pull & Bear|Shein|Uniqlo|"
    "Zalando|Zara",
    "crypto": "Binance|Bitso|Coinbase|Kraken|Mercado Bitcoin",
    "digital": "Adobe|Amazon Web Services|Apple|Canva|DigitalOcean|Dropbox|GitHub|Google|Microsoft|Nintendo|OpenAI|"
    "PlayStation|Roblox|Steam|Udemy|Xbox|Zoom",
    "electronics": "Best Buy|Fravega|Garbarino|Kabum|MediaMarkt|Samsung",
    "entertainment": "AMC Theatres|Cinemark|Cinépolis|Deezer|Disney+|Eventbrite|HBO Max|Hulu|Max|Netflix|Paramount+|"
    "Prime Video|Spotify|Star+|Ticketmaster|Twitch|YouTube",
    "fast_food": "Bob's|Burger King|Chipotle|Domino's|Dunkin'|Five Guys|Habib's|KFC|Little Caesars|McDonald's|Mostaza|"
    "Papa John's|Pizza Hut|Popeyes|Starbucks|Subway|Taco Bell|Tim Hortons|Wendy's",
    "fuel": "Axion|BP|Chevron|Esso|ExxonMobil|Ipiranga|Petrobras|Repsol|Shell|TotalEnergies|YPF",
    "gambling": "1xBet|bet365|Betano|Betfair|Betsson|Codere|Pinnacle|PokerStars|Stake",
    "groceries": "7-Eleven|Albert Heijn|Aldi|Asda|Carrefour|Chedraui|Coto|Costco|Dia|Extra|Jumbo|Kroger|Lidl|Mercadona|"
    "OXXO|Pão de Açúcar|Rewe|Safeway|Sainsbury's|Soriana|Tesco|Trader Joe's|Waitrose|Whole Foods",
    "health": "Fleury|Hapvida|Swiss Medical|Unimed",
    "home": "Easy|Home Depot|IKEA|Leroy Merlin|Lowe's|Sodimac|Tok&Stok",
    "lodging": "Accor|Airbnb|Best Western|Booking.com|Hilton|Holiday Inn|Hyatt|Ibis|Marriott",
    "money_transfer": "MoneyGram|PayPal|Remitly|Western Union|Wise",
    "pharmacies": "Boots|CVS|Droga Raia|Drogasil|Farmacity|Farmacias del Ahorro|Rite Aid|Walgreens",
    "restaurants": "Costa Coffee|Deliveroo|DoorDash|Glovo|Grubhub|iFood|Just Eat|PedidosYa|Pret A Manger|"
    "Rappi|Uber Eats",
    "shopping": "AliExpress|Amazon|Americanas|Casas Bahia|eBay|El Corte Inglés|Etsy|Falabella|Liverpool|Macy's|"
    "Magazine Luiza|Mercado Libre|Mercado Livre|Mercado Pago|Shopee|Target|Temu|Walmart|Wish",
    "sports": "Planet Fitness|Smart Fit|SportClub",
    "telecom": "AT&T|Claro|Movistar|Oi|Orange|Personal|T-Mobile|Telefónica|TIM|Verizon|Vivo|Vodafone",
    "transport": "99|BlaBlaCar|Bolt|Cabify|DiDi|FREENOW|Lime|Lyft|SUBE|Uber",
    "travel": "Almundo|CVC|Decolar|Despegar|Expedia|Hotels.com|Trainline",
    "utilities": "Edenor|Edesur|Enel|Iberdrola|Sabesp",
}

_ALIASES: Final = {
    "amzn": "Amazon",
    "amzn mktp": "Amazon",
    "amazon mktpl": "Amazon",
    "apple com": "Apple",
    "aws": "Amazon Web Services",
    "delta": "Delta Air Lines",
    "disney plus": "Disney+",
    "enterprise": "Enterprise Rent-A-Car",
    "exxon": "ExxonMobil",
    "free now": "FREENOW",
    "mcd": "McDonald's",
    "meli": "Mercado Libre",
    "mercadolibre": "Mercado Libre",
    "mercadolivre": "Mercado Livre",
    "mercadopago": "Mercado Pago",
    "msft": "Microsoft",
    "netflix com": "Netflix",
    "sbux": "Starbucks",
    "the home depot": "Home Depot",
    "shell oil": "Shell",
    "ubereats": "Uber Eats",
    "wal mart": "Walmart",
    "wm supercenter": "Walmart",
    "wholefds": "Whole Foods",
}

ONLY_ALONE: Final = frozenset(
    [
        "99",
        "apple",
        "azul",
        "bolt",
        "boots",
        "claro",
        "coto",
        "delta",
        "dia",
        "easy",
        "extra",
        "gap",
        "gol",
        "jumbo",
        "lime",
        "liverpool",
        "mango",
        "max",
        "oi",
        "orange",
        "personal",
        "shell",
        "southwest",
        "stake",
        "star",
        "sube",
        "subway",
        "target",
        "tim",
        "vivo",
        "wise",
        "wish",
        "zoom",
    ]
)
"""Names that are words of a language: a longer name that begins with one belongs to another merchant."""

_BY_WORDS: Final = {
    "airlines": "airline airlines airways aerolineas",
    "books_and_media": "bookstore books libreria livraria librairie",
    "education": "university universidad universidade college school colegio escola academy",
    "fast_food": "burger burgers pizza pizzeria taqueria kebab",
    "fuel": "petrol gasoline gasolinera posto fuel",
    "groceries": "supermarket supermercado supermercados supermarche grocery groceries bakery panaderia padaria"
    " carniceria hipermercado minimarket",
    "health": "hospital clinic clinica dental dentist dentista doctor",
    "home": "hardware furniture muebles moveis ferreteria",
    "insurance": "insurance seguros assurance versicherung",
    "lodging": "hotel hostel motel inn resort posada pousada",
    "parking": "parking estacionamiento estacionamento garage",
    "personal_care": "barber barbershop barberia peluqueria salon spa",
    "pets": "veterinary veterinaria pet pets",
    "pharmacies": "pharmacy farmacia drogaria drugstore apotheke farmacias",
    "restaurants": "restaurant restaurante ristorante trattoria cafe cafeteria coffee bistro bar pub grill sushi diner"
    " parrilla churrascaria",
    "sports": "gym gimnasio academia fitness",
    "telecom": "telecom mobile",
    "transport": "taxi metro train railway bus cab",
}


@cache
def known_merchants() -> dict[str, tuple[str, str]]:
    """Plain words of a name → (the common name, its category)."""
    named = {name: (name, category) for category, names in _KNOWN.items() for name in names.split("|")}
    return {plain_words(name): known for name, known in named.items()} | {
        alias: named[name] for alias, name in _ALIASES.items()
    }


@cache
def categories_by_word() -> dict[str, str]:
    """A word in an unknown merchant's name → what it probably sells."""
    return {word: category for category, words in _BY_WORDS.items() for word in words.split()}

"""Where the values of everyday functions come from: a source for each kind that the tables name."""

from .exchange import one_of
from .facts import TABLES
from .schemas import letters, some_path, zone
from .strings import a_word
from .words import ANIMALS, COLORS, DAYS, FOODS, HOBBIES, JOBS, LANGUAGES, MONTHS, THINGS, coined, invented, person, phrase, place


def numbers(low: int, high: int, decimals: float = 0.0):
    """A source of numbers, a share of them with decimals."""
    return lambda rng: rng.randint(low * 10, high * 10) / one_of(rng, [4, 10, 100]) if rng.random() < decimals else rng.randint(low, high)


def date(rng) -> str:
    day, month = rng.randint(1, 28), rng.randint(1, 12)
    return one_of(rng, [f"{rng.randint(2019, 2032)}-{month:02}-{day:02}", f"{MONTHS[month - 1]} {day}", f"{day} {MONTHS[month - 1]}", f"{day:02}.{month:02}.2025", f"{month}/{day}/2024",
                        "tomorrow", "today", one_of(rng, DAYS), one_of(rng, DAYS), "next " + one_of(rng, DAYS)])


def time(rng) -> str:
    return one_of(rng, [f"{rng.randint(0, 23):02}:{rng.randint(0, 59):02}", f"{rng.randint(1, 12)}:{rng.choice((0, 15, 30, 45)):02}", f"{rng.randint(1, 12)} {one_of(rng, ['am', 'pm'])}"])


def file(rng) -> str:
    ending = one_of(rng, [".txt", ".md", ".json", ".py", ".csv", ".log", ".pdf", ".toml", ".html"])
    name = one_of(rng, [a_word, coined, lambda rng: letters(rng)])(rng)
    return one_of(rng, [name + ending, f"/{a_word(rng)}/{name}{ending}", f"/{a_word(rng)}/{name}{ending}", f"./{name}{ending}", f"{a_word(rng)}/{name}{ending}", f"/{coined(rng)}/{a_word(rng)}/{name}{ending}"])


def path(rng) -> str:
    return one_of(rng, [some_path(rng, a_word), some_path(rng, coined), f"{a_word(rng)}/{coined(rng)}", "~/" + a_word(rng), "/" + a_word(rng), "/" + coined(rng)])


def street_name(rng) -> str:
    return f"{coined(rng).capitalize() if rng.random() < 0.6 else a_word(rng).capitalize()} {one_of(rng, ['Street', 'Road', 'Lane', 'Avenue', 'Square'])}"


def title(rng) -> str:
    return phrase(rng, rng.randint(1, 3)).title()


def some_id(rng) -> str:
    return one_of(rng, [letters(rng, 5, 9).upper(), f"{letters(rng, 2, 3).upper()}-{rng.randint(10, 9999)}", str(rng.randint(1000, 999999)), f"#{rng.randint(1, 9999)}", f"{coined(rng)}-{rng.randint(1, 99)}"])


CITIES = [row[1] for row in TABLES["capital"][0]] + "London Paris Munich Milan Barcelona Boston Chicago Seattle Denver Mumbai Shanghai Osaka Sydney Toronto Hamburg Geneva Naples Porto Lyon".split()
COUNTRIES = [row[0] for row in TABLES["capital"][0]]
WORDS = {"room": "kitchen bedroom bathroom garage hall cellar office garden nursery attic".split(), "planet": "Mercury Venus Mars Jupiter Saturn Uranus Neptune".split(),
         "sport": "football tennis hockey golf rugby boxing chess baseball basketball".split(), "genre": "jazz rock folk pop horror comedy drama classical crime".split(),
         "subject": "math physics history chemistry biology art music geography".split(), "instrument": "guitar violin cello harp banjo bass".split(), "tree": "oak pine birch maple elm apple".split(),
         "doctor": "dentist surgeon cardiologist dermatologist".split(), "money": "USD EUR GBP JPY CHF SEK INR CNY dollars euros".split(), "command": ["ls -la", "git status", "make test", "cargo build", "df -h", "uname -a", "npm install"],
         "drink": "coffee tea cocoa lemonade juice water milk beer wine soda cider".split(), "cuisine": "Italian Chinese Indian Greek Thai Mexican French Turkish Korean Spanish".split(),
         "appliance": "dishwasher fridge oven heater toaster washer dryer mixer boiler kettle".split(), "occasion": "birthday Christmas Easter graduation retirement anniversary wedding farewell housewarming".split(),
         "symptom": ["headache", "fever", "a cough", "back pain", "a rash", "dizziness", "a sore throat", "nausea", "toothache", "cramps"], "body": "neck back knee shoulder hip wrist ankle foot arm leg calf".split(),
         "letter": list("ABCDEFGHIJKLMNOPRSTUVWZ"), "month": MONTHS, "day": DAYS, "material": "steel wood glass copper iron stone plastic leather silver concrete".split(), "supply": "paper pens staples envelopes folders ink markers tape scissors clips".split(),
         "fish": "trout pike carp perch eel salmon".split(), "verb": "go be have see run eat write take give sleep swim read".split(), "budget": "food clothes travel books toys rent sports gifts music games".split(),
         "sign": "Aries Taurus Gemini Cancer Leo Virgo Libra Scorpio Sagittarius Capricorn Aquarius Pisces".split(), "flower": "rose tulip lily fern orchid cactus daisy ivy basil mint".split(),
         "topic": "politics sports science health music technology economy cooking history nature art weather film climate education space".split(), "language_of_code": "Python Rust Java Go Ruby C JavaScript".split(),
         "molecule": "H2O CO2 NaCl CH4 NH3 O2 C6H12O6 H2SO4 HCl CaCO3".split(), "color": COLORS, "language": LANGUAGES, "food": FOODS, "job": JOBS, "hobby": HOBBIES, "element": [row[0] for row in TABLES["symbol"][0]], "country": COUNTRIES}
KINDS = {
    **{kind: (lambda rng, words=words: one_of(rng, words)) for kind, words in WORDS.items()},
    "city": lambda rng: one_of(rng, CITIES) if rng.random() < 0.5 else place(rng), "person": lambda rng: person(rng) + (" " + invented(rng, 2).capitalize() if rng.random() < 0.2 else ""),
    "few": numbers(2, 12), "small": numbers(1, 30, 0.15), "minutes": numbers(1, 90), "hundreds": numbers(10, 999), "thousands": lambda rng: rng.randint(10, 999) * one_of(rng, [100, 1000]),
    "percent": numbers(1, 30, 0.2), "teens": numbers(6, 32), "warm": numbers(15, 28), "large": numbers(100, 4000), "year": numbers(1500, 2030), "price": numbers(1, 900, 0.3), "number": numbers(0, 999, 0.25),
    "height": numbers(140, 205), "weight": numbers(40, 120), "stars": numbers(1, 5), "age": numbers(1, 95), "date": date, "time": time, "zone": zone, "path": path, "file": file,
    "image": lambda rng: (a_word(rng) if rng.random() < 0.5 else coined(rng)) + one_of(rng, [".png", ".jpg", ".webp"]),
    "url": lambda rng: f"http{one_of(rng, ['', 's', 's'])}://" + one_of(rng, ["", "www."]) + f"{coined(rng)}.{one_of(rng, ['com', 'org', 'net', 'io'])}" + one_of(rng, ["", f"/{coined(rng)}", f":{rng.randint(80, 9999)}/{a_word(rng)}"]),
    "host": lambda rng: one_of(rng, [f"{coined(rng)}.{one_of(rng, ['com', 'org', 'net'])}", "localhost", f"10.0.{rng.randint(0, 255)}.{rng.randint(1, 254)}"]),
    "email": lambda rng: f"{one_of(rng, [coined(rng), person(rng).lower()])}@{coined(rng)}.{one_of(rng, ['com', 'org', 'net'])}", "phone": lambda rng: f"{rng.randint(100, 999)}-{rng.randint(1000, 9999)}",
    "id": some_id, "ticker": lambda rng: letters(rng, 3, 4).upper(), "sql": lambda rng: f"SELECT {one_of(rng, ['*', a_word(rng), 'count(*)'])} FROM {coined(rng)}", "word": lambda rng: a_word(rng) if rng.random() < 0.5 else coined(rng),
    "phrase": lambda rng: phrase(rng, rng.randint(1, 4)), "quote": lambda rng: phrase(rng, rng.randint(1, 5)), "title": title, "name": lambda rng: invented(rng, 2).capitalize(),
    "people": lambda rng: [person(rng) for _ in range(rng.randint(2, 4))], "numbers": lambda rng: [rng.randint(0, 99) for _ in range(rng.randint(3, 6))],
    "words": lambda rng: [a_word(rng) if rng.random() < 0.7 else coined(rng) for _ in range(rng.randint(2, 4))], "molecules": lambda rng: rng.sample(WORDS["molecule"], rng.randint(1, 2)),
    "street": lambda rng: one_of(rng, [f"{rng.randint(1, 199)} {street_name(rng)}", street_name(rng), f"{street_name(rng)} {rng.randint(1, 99)}"]), "airport": lambda rng: "".join(one_of(rng, WORDS["letter"]) for _ in range(3)),
    "version": lambda rng: ".".join(str(rng.randint(0, 12)) for _ in range(rng.randint(2, 3))), "ip": lambda rng: ".".join(str(rng.randint(1, 254)) for _ in range(4)), "decimal": numbers(0, 99, 0.8),
    "latitude": lambda rng: rng.randint(-8999, 8999) / 100, "longitude": lambda rng: rng.randint(-17999, 17999) / 100, "square": lambda rng: one_of(rng, "abcdefgh") + str(rng.randint(1, 8)),
    "audio": lambda rng: (a_word(rng) if rng.random() < 0.5 else coined(rng)) + one_of(rng, [".mp3", ".wav", ".ogg"]), "video": lambda rng: (a_word(rng) if rng.random() < 0.5 else coined(rng)) + one_of(rng, [".mp4", ".mov", ".mkv"]),
    "thing": lambda rng: one_of(rng, THINGS), "animal": lambda rng: one_of(rng, ANIMALS), "flag": lambda rng: True,
}
WHOLE = {"few", "minutes", "hundreds", "thousands", "teens", "warm", "large", "year", "height", "weight", "stars", "age"}
ALONE = {"city", "person", "date", "time", "zone", "file", "path", "id", "ticker", "word", "food", "country", "room", "animal", "element", "planet", "title", "language", "color", "name", "url", "drink", "street", "airport", "month", "day", "genre", "subject", "thing", "host", "email", "phone", "image", "audio", "video", "material", "flower"}
LISTS = {"people", "numbers", "words", "molecules"}  # several values in one

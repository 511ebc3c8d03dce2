"""Names, things and invented words that fill the sentences."""

from .exchange import held_out, one_of

FIRST_NAMES = """Ada Alan Alice Amir Ana Anton Aya Ben Bianca Bo Carla Chen Clara Dan Dara David Dina Ed Elena Eli Ella Emil Emma
Eva Fatima Felix Finn Freya George Grace Hana Hans Hugo Ian Ida Ines Ivan Jack Jana Jin Joan John Jonas Julia Kai Kara Karl Kim
Lara Lena Leo Li Lily Linus Lisa Lucas Lucy Luna Maja Marco Maria Mark Marta Max Maya Mia Mila Mina Nadia Nick Nina Noah Nora
Olaf Olga Omar Oscar Otto Paul Pedro Petra Priya Quinn Ravi Rita Rosa Ruth Sam Sara Sofia Stefan Susan Tara Theo Tim Tom Uma
Vera Victor Walter Wanda Will Yara Yuki Zara Zoe""".split()
COLORS = "red blue green yellow orange purple pink brown black white gray gold silver".split()
ANIMALS = "cat dog horse cow sheep goat pig duck hen fox bear wolf lion tiger mouse rabbit frog owl eagle snake turtle parrot".split()
FOODS = "pizza pasta rice soup bread cheese salad apples bananas pears cherries cake noodles beans tomatoes carrots honey".split()
HOBBIES = "chess painting running swimming reading cooking singing dancing fishing gardening sailing cycling drawing".split()
JOBS = "doctor teacher baker farmer pilot painter writer nurse gardener sailor engineer singer".split()
THINGS = """apple ball bell bird boat book bottle bowl box bridge bus cake candle car carpet chair clock cloud coat coin cup desk door
dress drum egg fan feather fence fish flag flower fork garden gate glass glove guitar hammer hat hill house island jacket jar key
kite knife ladder lake lamp leaf letter map mirror moon mountain nail needle nest ocean pan paper pen pencil piano pillow pipe plate
pond pot queen rain ring river road rock roof rope rose sand scarf school sea ship shirt shoe shop sky snow sock song spoon star
stone storm street sun table tent ticket tower train tree truck umbrella vase village violin wall watch water whale wheel wind
window wood yard""".split()
ADJECTIVES = "small big old young happy brave quiet kind clever lazy tired hungry shy proud gentle curious".split()
LANGUAGES = "French German Spanish Italian Japanese Polish Dutch Greek Turkish Swedish Korean Hindi".split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = "January February March April May June July August September October November December".split()

ONSETS = "b br c ch cl d dr f fl g gr h j k kl l m n p pl pr qu r s sh sk sl st t th tr v w y z".split()
VOWELS = "a e i o u a e i o ai ee oo ou".split()
CODAS = ["", "", "", "b", "ck", "d", "g", "k", "l", "ll", "m", "n", "nd", "nt", "p", "r", "rn", "s", "st", "t", "x"]


# Pieces of the tokenizer, filled by the last rounds of the training: invented words are then made of them too and are more
# frequent, so that every piece is copied, spelled and written in capitals. The examination leaves it empty.
PIECES: list[str] = []


def learn_pieces(vocabulary) -> None:
    """From now on, words are also invented from the pieces of a vocabulary that are lowercase letters."""
    PIECES[:] = sorted(piece for piece in vocabulary if piece.isascii() and piece.isalpha() and piece.islower())


def pieced(rng) -> str:
    """A word of a few pieces; never one whose function is kept for the examination."""
    while True:
        word = "".join(one_of(rng, PIECES) for _ in range(rng.choice((1, 1, 1, 2, 2, 3))))
        if len(word) > 1 and not held_out("noun " + word):
            return word


def coined(rng) -> str:
    """A word that has to be copied: of known pieces or of syllables."""
    return pieced(rng) if PIECES and rng.random() < 0.8 else invented(rng)


def invented(rng, syllables: int | None = None) -> str:
    """A pronounceable word that means nothing: only copying can produce it."""
    if PIECES and rng.random() < 0.5:
        return pieced(rng)
    count = syllables or rng.choice((1, 2, 2, 2, 3))
    return "".join(one_of(rng, ONSETS) + one_of(rng, VOWELS) + one_of(rng, CODAS) for _ in range(count))


def person(rng) -> str:
    """A first name, sometimes an invented one."""
    return one_of(rng, FIRST_NAMES) if rng.random() < 0.5 else invented(rng, 2).capitalize()


def place(rng) -> str:
    """A name of a town, mostly invented."""
    ending = one_of(rng, ["", "", "", "burg", "ton", "ville", "ford", " Bay", " City"])
    return invented(rng, rng.choice((1, 2, 2))).capitalize() + ending


def known(rng, share: float) -> bool:
    """Whether to take a known word where `share` of them is wanted; less when every piece is to be practiced."""
    return rng.random() < (share / 2 if PIECES else share)


def phrase(rng, words: int) -> str:
    """Some words in a row, known and invented."""
    return " ".join(one_of(rng, THINGS) if known(rng, 0.7) else invented(rng) for _ in range(words))


def listing(words: list[str]) -> str:
    """`a, b and c`."""
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]


def article(word: str) -> str:
    """The word with `a` or `an`."""
    return ("an " if word[0].lower() in "aeiou" else "a ") + word

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

# What functions are about, beside things: nouns of work, science, home and computers.
TOPICS = """account action activity address agenda agent album alert analysis angle answer archive area argument artist asset atom attachment author average bank
barcode battery behavior benefit block board body bond border branch brand brightness buffer bug bundle button cable cache capacity career category cell center
certificate chain change channel chapter chart chat check class client climate cloud cluster code collection column comment commit company component compound
condition config connection contact container content context copy cost country course credit crime culture currency cursor curve customer data database date
deadline debt decision degree delay delivery demand density deposit depth design detail device diagram diet direction disease disk distance document domain
dose draft driver duration earnings edge editor effect election element energy entity entry equation error estimate evidence example exchange experiment export
factor feature feedback fee field figure filter firewall fleet flow folder force formula forum fraction frame frequency fuel function fund gallery game gene
genre goal grade graph grid group growth guide habitat header health height history hobby host hour icon identity image import income index industry
ingredient input insight interest interval inventory item job journal journey keyword label language law layer league lease length level library license
limit line link list loan location log logo loss machine mail market mass match material matrix meaning measure media member memory menu metric mineral
mode model module molecule monitor mood motion motor movement museum network node noise note notice number nutrient object offer office option orbit order
organ origin outcome output package page panel parameter parent parser part particle partner password patch path patient pattern payment percentage
performance period permission person phase photo phrase pipeline pixel place plan planet platform player plot poem point policy pollution population
portfolio position post power prediction prefix premium pressure price printer priority problem process product profile profit program progress
project property protein protocol province purchase quality quantity query question queue quote race radius range rank rate rating ratio reaction
reading reason receipt recipe record region register relation release report request reservation resource response result revenue review reward risk
role root rotation round route row rule salary sample scale scene schedule schema school score screen script season seat section sector segment sensor
sentence sequence series server service session setting shape share shelf shift ship signal site size skill slot snapshot society solution sound source
space species speed spelling sport stack stage standard state station statistic status step stock storage story strategy stream strength string style
subject subtitle suffix sum summary supply support surface survey symbol symptom syntax system table tag target task tax team template temperature term
test text theme theory thread threshold title token tool topic total tour trace track trade traffic training transaction transfer transit translation
transport treatment trend trial trip type unit update upload usage user value variable variant vehicle vendor version video view virus visit visitor
vitamin voice voltage volume vote wage wallet warehouse warning wave weight widget width wiki window word workflow worker workspace world zone""".split()

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


def term(rng) -> str:
    """A word that stands for a topic in names and descriptions; never one whose function is kept for the examination."""
    word = one_of(rng, TOPICS) if rng.random() < 0.6 else coined(rng)
    return word if not held_out("noun " + word) else term(rng)


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
    return ("an " if word[0].lower() in "aeiou" or word == "hour" else "a ") + word

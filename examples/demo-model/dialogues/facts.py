"""The fixed table of facts, and the ways to ask for each. Table and phrases only."""

from .exchange import Exchange, one_of
from .words import article

CAPITALS = """France:Paris Germany:Berlin Italy:Rome Spain:Madrid Portugal:Lisbon Austria:Vienna Poland:Warsaw Hungary:Budapest
Greece:Athens Ireland:Dublin Norway:Oslo Sweden:Stockholm Finland:Helsinki Denmark:Copenhagen Belgium:Brussels Netherlands:Amsterdam
Switzerland:Bern Iceland:Reykjavik Russia:Moscow Ukraine:Kyiv Turkey:Ankara Romania:Bucharest Bulgaria:Sofia Serbia:Belgrade
Croatia:Zagreb Slovenia:Ljubljana Slovakia:Bratislava Estonia:Tallinn Latvia:Riga Lithuania:Vilnius Egypt:Cairo Morocco:Rabat
Kenya:Nairobi Nigeria:Abuja Ghana:Accra Ethiopia:Addis_Ababa Senegal:Dakar Tunisia:Tunis Algeria:Algiers Japan:Tokyo China:Beijing
India:New_Delhi Thailand:Bangkok Vietnam:Hanoi Indonesia:Jakarta Malaysia:Kuala_Lumpur Philippines:Manila Nepal:Kathmandu
Pakistan:Islamabad Iran:Tehran Iraq:Baghdad Israel:Jerusalem Jordan:Amman Lebanon:Beirut Canada:Ottawa Mexico:Mexico_City Cuba:Havana
Brazil:Brasilia Argentina:Buenos_Aires Chile:Santiago Peru:Lima Colombia:Bogota Venezuela:Caracas Ecuador:Quito Uruguay:Montevideo
Australia:Canberra Mongolia:Ulaanbaatar Georgia:Tbilisi Armenia:Yerevan Cyprus:Nicosia Malta:Valletta"""
SYMBOLS = """hydrogen:H:1 helium:He:2 lithium:Li:3 beryllium:Be:4 boron:B:5 carbon:C:6 nitrogen:N:7 oxygen:O:8 fluorine:F:9 neon:Ne:10
sodium:Na:11 magnesium:Mg:12 aluminum:Al:13 silicon:Si:14 phosphorus:P:15 sulfur:S:16 chlorine:Cl:17 argon:Ar:18 potassium:K:19
calcium:Ca:20 iron:Fe:26 nickel:Ni:28 copper:Cu:29 zinc:Zn:30 silver:Ag:47 tin:Sn:50 gold:Au:79 mercury:Hg:80 lead:Pb:82 uranium:U:92"""
OPPOSITES = """hot:cold big:small up:down day:night black:white happy:sad fast:slow old:new high:low rich:poor hard:soft wet:dry
light:dark full:empty open:closed early:late long:short left:right true:false good:bad strong:weak near:far clean:dirty loud:quiet
push:pull first:last inside:outside begin:end love:hate win:lose buy:sell young:aged thick:thin wide:narrow deep:shallow
sharp:blunt sweet:sour heavy:weightless north:south east:west summer:winter friend:enemy always:never above:below safe:dangerous"""
COLORS_OF = """grass:green snow:white coal:black blood:red lemons:yellow carrots:orange chocolate:brown milk:white bananas:yellow
strawberries:red leaves:green ravens:black tomatoes:red elephants:gray flamingos:pink spinach:green cherries:red ink:blue
emeralds:green rubies:red"""
SOUNDS = "dog:woof cat:meow cow:moo duck:quack sheep:baa pig:oink horse:neigh lion:roar frog:ribbit owl:hoot bee:buzz snake:hiss"
LEGS = "dog:four cat:four horse:four bird:two spider:eight ant:six bee:six chicken:two snake:no human:two octopus:no cow:four"
CURRENCIES = """Japan:yen India:rupee China:yuan Mexico:peso Brazil:real Switzerland:franc Sweden:krona Poland:zloty Russia:ruble
Germany:euro France:euro Turkey:lira Israel:shekel Hungary:forint Thailand:baht Vietnam:dong Denmark:krone"""
TONGUES = """France:French Germany:German Italy:Italian Japan:Japanese China:Chinese Brazil:Portuguese Mexico:Spanish Egypt:Arabic
Greece:Greek Poland:Polish Sweden:Swedish Turkey:Turkish Russia:Russian Netherlands:Dutch Hungary:Hungarian Finland:Finnish"""
PLURALS = """mouse:mice foot:feet tooth:teeth child:children man:men woman:women goose:geese leaf:leaves knife:knives city:cities
box:boxes sheep:sheep fish:fish ox:oxen baby:babies wolf:wolves"""
YOUNG = "dog:puppy cat:kitten cow:calf sheep:lamb horse:foal duck:duckling lion:cub goat:kid hen:chick frog:tadpole"
AFTER = """Monday:Tuesday Tuesday:Wednesday Wednesday:Thursday Thursday:Friday Friday:Saturday Saturday:Sunday Sunday:Monday
January:February February:March March:April April:May May:June June:July July:August August:September September:October
October:November November:December December:January spring:summer summer:autumn autumn:winter winter:spring"""
SINGLE = [
    (["How many days are in a week?", "How many days does a week have?", "Days in a week?"], "A week has seven days.", "seven"),
    (["How many months are in a year?", "How many months does a year have?", "Months in a year?"], "A year has twelve months.", "twelve"),
    (["How many hours are in a day?", "How many hours does a day have?", "Hours in a day?"], "A day has 24 hours.", "24"),
    (["How many minutes are in an hour?", "How many minutes does an hour have?", "Minutes in an hour?"], "An hour has 60 minutes.", "60"),
    (["What is the largest planet?", "Which planet is the largest?", "Name the largest planet."], "Jupiter is the largest planet.", "Jupiter"),
    (["What is the red planet?", "Which planet is called the red planet?", "Name the red planet."], "Mars is the red planet.", "Mars"),
    (["What is the largest ocean?", "Which ocean is the largest?", "Name the largest ocean."], "The Pacific is the largest ocean.", "Pacific"),
    (["What is the tallest mountain?", "Which mountain is the tallest?", "Name the tallest mountain."], "Mount Everest is the tallest mountain.", "Everest"),
    (["What is the largest animal?", "Which animal is the largest?", "Name the largest animal."], "The blue whale is the largest animal.", "blue whale"),
    (["What is water made of?", "What does water consist of?", "Tell me what water is made of."], "Water is made of hydrogen and oxygen.", "hydrogen"),
    (["What do bees make?", "What is made by bees?", "Tell me what bees make."], "Bees make honey.", "honey"),
    (["At what temperature does water boil?", "When does water boil?", "What is the boiling point of water?"], "Water boils at 100 degrees Celsius.", "100"),
]

# relation: (table, ways to ask, answer). `{a}` and `{b}` are the two columns.
RELATIONS = {
    "capital": (CAPITALS, ["What is the capital of {a}?", "What's the capital of {a}?", "Which city is the capital of {a}?",
                           "Name the capital of {a}.", "Tell me the capital of {a}.", "capital of {a}?", "Do you know the capital of {a}?"],
                "The capital of {a} is {b}."),
    "country": (CAPITALS, ["Which country has the capital {b}?", "{b} is the capital of which country?", "What country is {b} the capital of?",
                           "Of which country is {b} the capital?"], "{b} is the capital of {a}."),
    "opposite": (OPPOSITES, ["What is the opposite of {a}?", "What's the opposite of {a}?", "Tell me the opposite of {a}.", "Give me the opposite of {a}.",
                             "Which word is the opposite of {a}?", "opposite of {a}?"], "The opposite of {a} is {b}."),
    "color": (COLORS_OF, ["What color is {a}?", "What is the color of {a}?", "Which color does {a} have?", "Tell me the color of {a}.", "What color has {a}?"],
              "The color of {a} is {b}."),
    "sound": (SOUNDS, ["What sound does {the_a} make?", "What does {the_a} say?", "Which sound does {the_a} make?", "What noise does {the_a} make?"],
              "The {a} says {b}."),
    "legs": (LEGS, ["How many legs does {the_a} have?", "How many legs has {the_a}?", "Tell me how many legs {the_a} has.", "Number of legs of {the_a}?"],
             "The {a} has {b} legs."),
    "currency": (CURRENCIES, ["What is the currency of {a}?", "What money is used in {a}?", "Which currency does {a} use?", "Name the currency of {a}."],
                 "The currency of {a} is the {b}."),
    "language": (TONGUES, ["What language is spoken in {a}?", "Which language do people speak in {a}?", "What do people speak in {a}?",
                           "Name the language of {a}."], "People in {a} speak {b}."),
    "plural": (PLURALS, ["What is the plural of {a}?", "What's the plural of {a}?", "Give me the plural of {a}.", "Tell me the plural of {a}."],
               "The plural of {a} is {b}."),
    "young": (YOUNG, ["What is a young {a} called?", "What do you call a young {a}?", "What is the name of a young {a}?", "What is a baby {a} called?"],
              "A young {a} is called {the_b}."),
    "after": (AFTER, ["What comes after {a}?", "What follows {a}?", "Which one comes after {a}?", "Tell me what comes after {a}."], "{b} comes after {a}."),
    "before": (AFTER, ["What comes before {b}?", "What is right before {b}?", "Which one comes before {b}?", "Tell me what comes before {b}."],
               "{a} comes before {b}."),
    "symbol": (SYMBOLS, ["What is the chemical symbol of {a}?", "What's the symbol for {a}?", "Which symbol does {a} have?", "Give me the symbol of {a}.",
                         "chemical symbol of {a}?"], "The symbol of {a} is {b}."),
    "number": (SYMBOLS, ["What is the atomic number of {a}?", "Which atomic number does {a} have?", "Tell me the atomic number of {a}.",
                         "atomic number of {a}?"], "The atomic number of {a} is {c}."),
}


def rows(table: str) -> list[list[str]]:
    """The rows of a table: columns are parted by colons, spaces inside a name are underscores."""
    return [[column.replace("_", " ") for column in row.split(":")] for row in table.split()]


TABLES = {name: (rows(table), ways, answer) for name, (table, ways, answer) in RELATIONS.items()}
COUNT = sum(len(table) for table, _, _ in TABLES.values()) + len(SINGLE)


def fact(rng) -> Exchange:
    """A question with one right answer. Kept for the examination: some wordings of each fact, never the fact itself."""
    if rng.random() < 0.06:
        ways, answer, expect = one_of(rng, SINGLE)
        user = one_of(rng, ways)
        return Exchange(user, answer, "fact " + user, expect)
    name = one_of(rng, WEIGHTED)
    table, ways, answer = TABLES[name]
    row = one_of(rng, table)
    values = {"a": row[0], "b": row[1], "c": row[-1], "the_a": article(row[0]), "the_b": article(row[1])}
    user = one_of(rng, ways).format(**values)
    expect = {"country": row[0], "before": row[0], "number": row[-1]}.get(name, row[1])
    return Exchange(user, answer.format(**values)[:1].upper() + answer.format(**values)[1:], "fact " + user, expect)


# Relations are asked for in proportion to the square root of their size: big tables need more practice, small ones some.
WEIGHTED = [name for name, (table, _, _) in TABLES.items() for _ in range(max(1, round(len(table) ** 0.75)))]

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
Australia:Canberra Mongolia:Ulaanbaatar Georgia:Tbilisi Armenia:Yerevan Cyprus:Nicosia Malta:Valletta
Luxembourg:Luxembourg Albania:Tirana Bosnia:Sarajevo Belarus:Minsk Moldova:Chisinau Monaco:Monaco Scotland:Edinburgh Wales:Cardiff England:London
Britain:London Saudi_Arabia:Riyadh Syria:Damascus Qatar:Doha Oman:Muscat Yemen:Sanaa Kuwait:Kuwait_City Afghanistan:Kabul Kazakhstan:Astana
Uzbekistan:Tashkent Bangladesh:Dhaka Sri_Lanka:Colombo Myanmar:Naypyidaw Laos:Vientiane Cambodia:Phnom_Penh Singapore:Singapore Taiwan:Taipei
South_Korea:Seoul North_Korea:Pyongyang Sudan:Khartoum Libya:Tripoli Uganda:Kampala Tanzania:Dodoma Zambia:Lusaka Zimbabwe:Harare Angola:Luanda
Namibia:Windhoek Botswana:Gaborone Madagascar:Antananarivo Mali:Bamako Cameroon:Yaounde Rwanda:Kigali Somalia:Mogadishu Mozambique:Maputo
Bolivia:Sucre Paraguay:Asuncion Panama:Panama_City Costa_Rica:San_Jose Guatemala:Guatemala_City Honduras:Tegucigalpa Jamaica:Kingston
Haiti:Port-au-Prince New_Zealand:Wellington Fiji:Suva Bhutan:Thimphu Azerbaijan:Baku United_States:Washington America:Washington"""
SYMBOLS = """hydrogen:H:1 helium:He:2 lithium:Li:3 beryllium:Be:4 boron:B:5 carbon:C:6 nitrogen:N:7 oxygen:O:8 fluorine:F:9 neon:Ne:10
sodium:Na:11 magnesium:Mg:12 aluminum:Al:13 silicon:Si:14 phosphorus:P:15 sulfur:S:16 chlorine:Cl:17 argon:Ar:18 potassium:K:19
calcium:Ca:20 iron:Fe:26 nickel:Ni:28 copper:Cu:29 zinc:Zn:30 silver:Ag:47 titanium:Ti:22 chromium:Cr:24 manganese:Mn:25 cobalt:Co:27 bromine:Br:35
krypton:Kr:36 iodine:I:53 xenon:Xe:54 barium:Ba:56 tungsten:W:74 platinum:Pt:78 radon:Rn:86 radium:Ra:88 plutonium:Pu:94 tin:Sn:50 gold:Au:79 mercury:Hg:80 lead:Pb:82 uranium:U:92"""
OPPOSITES = """hot:cold big:small up:down day:night black:white happy:sad fast:slow old:new high:low rich:poor hard:soft wet:dry
light:dark full:empty open:closed early:late long:short left:right true:false good:bad strong:weak near:far clean:dirty loud:quiet
push:pull first:last inside:outside begin:end love:hate win:lose buy:sell young:aged thick:thin wide:narrow deep:shallow
sharp:blunt sweet:sour heavy:weightless north:south east:west summer:winter friend:enemy always:never above:below safe:dangerous
easy:difficult cheap:expensive start:stop give:take alive:dead male:female many:few more:less before:after front:back top:bottom in:out yes:no
ugly:beautiful brave:afraid rough:smooth tight:loose arrive:leave ask:answer remember:forget laugh:cry sunrise:sunset question:answer war:peace"""
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
CONTINENTS = """France:Europe Germany:Europe Italy:Europe Spain:Europe Norway:Europe Poland:Europe Greece:Europe Portugal:Europe Sweden:Europe Iceland:Europe Ireland:Europe
Hungary:Europe Austria:Europe Egypt:Africa Kenya:Africa Nigeria:Africa Ghana:Africa Morocco:Africa Ethiopia:Africa Tunisia:Africa Algeria:Africa
Japan:Asia China:Asia India:Asia Thailand:Asia Vietnam:Asia Nepal:Asia Iran:Asia Iraq:Asia Mongolia:Asia Indonesia:Asia Pakistan:Asia
Canada:North_America Mexico:North_America Cuba:North_America Brazil:South_America Argentina:South_America Chile:South_America Peru:South_America
Colombia:South_America Ecuador:South_America Uruguay:South_America Bolivia:South_America Namibia:Africa Zambia:Africa Uganda:Africa"""
WRITERS = """Hamlet:William_Shakespeare Romeo_and_Juliet:William_Shakespeare Macbeth:William_Shakespeare Faust:Johann_Wolfgang_von_Goethe Don_Quixote:Miguel_de_Cervantes
War_and_Peace:Leo_Tolstoy Moby_Dick:Herman_Melville Oliver_Twist:Charles_Dickens Frankenstein:Mary_Shelley Dracula:Bram_Stoker Emma:Jane_Austen
Pride_and_Prejudice:Jane_Austen Ulysses:James_Joyce The_Odyssey:Homer The_Iliad:Homer 1984:George_Orwell Animal_Farm:George_Orwell The_Hobbit:J._R._R._Tolkien
Treasure_Island:Robert_Louis_Stevenson The_Divine_Comedy:Dante Les_Miserables:Victor_Hugo The_Trial:Franz_Kafka"""
INVENTORS = """telephone:Alexander_Graham_Bell radio:Guglielmo_Marconi dynamite:Alfred_Nobel light_bulb:Thomas_Edison phonograph:Thomas_Edison World_Wide_Web:Tim_Berners-Lee
steam_engine:James_Watt printing_press:Johannes_Gutenberg Linux_kernel:Linus_Torvalds Python_language:Guido_van_Rossum C_language:Dennis_Ritchie
theory_of_relativity:Albert_Einstein law_of_gravity:Isaac_Newton theory_of_evolution:Charles_Darwin"""
KINDS = """rose:flower tulip:flower oak:tree pine:tree salmon:fish shark:fish eagle:bird penguin:bird ant:insect bee:insect apple:fruit banana:fruit potato:vegetable carrot:vegetable
violin:musical_instrument guitar:musical_instrument piano:musical_instrument drum:musical_instrument hammer:tool saw:tool chair:piece_of_furniture
table:piece_of_furniture gold:metal iron:metal oxygen:gas helium:gas diamond:precious_stone ruby:precious_stone chess:board_game football:sport tennis:sport
Rust:programming_language Python:programming_language Java:programming_language Linux:operating_system Mars:planet Venus:planet Saturn:planet Nile:river Amazon:river
Danube:river Everest:mountain Paris:city Tokyo:city Latin:language French:language car:vehicle bus:vehicle triangle:shape circle:shape red:color blue:color
whale:mammal dog:mammal bat:mammal snake:reptile crocodile:reptile frog:amphibian euro:currency yen:currency Monday:day_of_the_week May:month"""
UNITS = """minute:seconds:60 hour:minutes:60 day:hours:24 week:days:7 year:months:12 year:days:365 kilometer:meters:1000 meter:centimeters:100 centimeter:millimeters:10
kilogram:grams:1000 ton:kilograms:1000 liter:milliliters:1000 dozen:pieces:12 century:years:100 decade:years:10 foot:inches:12 yard:feet:3 byte:bits:8
kilobyte:bytes:1024 megabyte:kilobytes:1024 pound:ounces:16 dollar:cents:100 euro:cents:100 fortnight:days:14"""
PLANETS = "first:Mercury second:Venus third:Earth fourth:Mars fifth:Jupiter sixth:Saturn seventh:Uranus eighth:Neptune"
SIDES = "triangle:three square:four rectangle:four pentagon:five hexagon:six heptagon:seven octagon:eight cube:six"
PAST = """go:went see:saw eat:ate run:ran write:wrote read:read take:took give:gave come:came find:found think:thought buy:bought bring:brought make:made sing:sang swim:swam
drink:drank speak:spoke break:broke drive:drove know:knew fly:flew begin:began sleep:slept teach:taught catch:caught build:built lose:lost win:won feel:felt"""
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
    (["At what temperature does water freeze?", "When does water freeze?", "What is the freezing point of water?"], "Water freezes at 0 degrees Celsius.", "0 degrees"),
    (["What is the longest river?", "Which river is the longest?", "Name the longest river."], "The Nile is the longest river.", "Nile"),
    (["What is the smallest planet?", "Which planet is the smallest?", "Name the smallest planet."], "Mercury is the smallest planet.", "Mercury"),
    (["How many planets are there?", "How many planets does the sun have?", "Number of planets?"], "There are eight planets.", "eight"),
    (["How many continents are there?", "How many continents does the earth have?", "Number of continents?"], "There are seven continents.", "seven"),
    (["How many letters are in the alphabet?", "How many letters does the alphabet have?", "Letters in the alphabet?"], "The alphabet has 26 letters.", "26"),
    (["What is the fastest animal?", "Which animal is the fastest?", "Name the fastest animal on land."], "The cheetah is the fastest animal on land.", "cheetah"),
    (["What is the tallest animal?", "Which animal is the tallest?", "Name the tallest animal."], "The giraffe is the tallest animal.", "giraffe"),
    (["What is the speed of light?", "How fast is light?", "How fast does light travel?"], "Light travels about 300000 kilometers per second.", "300000"),
    (["Who was the first person on the moon?", "Who walked on the moon first?", "Who was first on the moon?"], "Neil Armstrong was the first person on the moon.", "Armstrong"),
    (["Who painted the Mona Lisa?", "Who made the Mona Lisa?", "Who is the painter of the Mona Lisa?"], "Leonardo da Vinci painted the Mona Lisa.", "Leonardo"),
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
    "continent": (CONTINENTS, ["On which continent is {a}?", "Which continent is {a} on?", "What continent is {a} in?", "Tell me the continent of {a}."], "{a} is in {b}."),
    "writer": (WRITERS, ["Who wrote {a}?", "Who is the author of {a}?", "Name the author of {a}.", "By whom is {a}?"], "{b} wrote {a}."),
    "inventor": (INVENTORS, ["Who is behind the {a}?", "To whom do we owe the {a}?", "Whose work is the {a}?", "Who came up with the {a}?"], "We owe the {a} to {b}."),
    "kind": (KINDS, ["What is {the_a}?", "What kind of thing is {the_a}?", "Tell me what {the_a} is.", "Do you know what {the_a} is?"], "{The_a} is {the_b}."),
    "unit": (UNITS, ["How many {b} are in {the_a}?", "How many {b} does {the_a} have?", "{b} in {the_a}?", "Tell me how many {b} {the_a} has."], "{The_a} has {c} {b}."),
    "planet": (PLANETS, ["Which is the {a} planet?", "What is the {a} planet from the sun?", "Name the {a} planet.", "Which planet is {a}?"], "{b} is the {a} planet from the sun."),
    "sides": (SIDES, ["How many sides does {the_a} have?", "How many sides has {the_a}?", "Tell me how many sides {the_a} has.", "Number of sides of {the_a}?"], "{The_a} has {b} sides."),
    "past": (PAST, ["What is the past tense of {a}?", "What is the past of {a}?", "Give me the past tense of {a}.", "Past tense of {a}?"], "The past tense of {a} is {b}."),
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
    the_a = row[0] if name == "kind" and (row[0][0].isupper() or row[1] in BARE) else article(row[0])
    values = {"a": row[0], "b": row[1], "c": row[-1], "the_a": the_a, "The_a": the_a[0].upper() + the_a[1:], "the_b": article(row[1])}
    user = one_of(rng, ways).format(**values)
    expect = {"country": row[0], "before": row[0], "number": row[-1], "unit": row[-1]}.get(name, row[1])
    return Exchange(user, answer.format(**values)[:1].upper() + answer.format(**values)[1:], "fact " + user, expect)


BARE = {"metal", "gas", "sport", "board game", "color"}  # of such a kind one does not say `a` or `an`

# Relations are asked for in proportion to the square root of their size: big tables need more practice, small ones some.
WEIGHTED = [name for name, (table, _, _) in TABLES.items() for _ in range(max(1, round(len(table) ** 0.75)))]

EXPLANATIONS = [
    (["Why is the sky blue?", "Tell me why the sky is blue.", "What makes the sky blue?"], "Air scatters blue light more than red light, so the sky looks blue."),
    (["Why is the sea salty?", "What makes the sea salty?", "Tell me why the sea is salty."], "Rivers carry salt from the rocks into the sea."),
    (["What is the sun?", "Is the sun a star?", "Tell me what the sun is."], "The sun is a star."),
    (["What is pi?", "What is the value of pi?", "How large is pi?"], "Pi is about 3.14159."),
    (["What is a prime number?", "Explain prime numbers.", "Tell me what a prime number is."], "A prime number can only be divided by one and by itself."),
    (["What is Rust?", "What is the Rust language?", "Tell me about Rust."], "Rust is a programming language that is fast and safe with memory."),
    (["What is a language model?", "What is an LLM?", "Explain language models."], "A language model is a program that predicts the next piece of a text."),
    (["What is a token?", "What are tokens?", "Explain tokens."], "A token is a piece of text, often a word or a part of one, that a language model reads and writes."),
    (["What is a GPU?", "What does a GPU do?", "Explain what a GPU is."], "A GPU is a processor that does many small calculations at once."),
    (["What is JSON?", "What is JSON used for?", "Explain JSON."], "JSON is a text format for data with names and values."),
    (["What is HTTP?", "What does HTTP do?", "Explain HTTP."], "HTTP is the protocol by which programs ask servers for pages and data."),
    (["What is a CPU?", "What does a CPU do?", "Explain what a CPU is."], "A CPU is the processor that runs the programs of a computer."),
    (["What is Linux?", "Tell me about Linux.", "Explain Linux."], "Linux is a free operating system."),
    (["What is an API?", "Explain what an API is.", "What does API mean?"], "An API is the set of requests that a program answers for other programs."),
    (["What is machine learning?", "Explain machine learning.", "How does machine learning work?"], "In machine learning a program finds the rules in examples by itself."),
    (["What is a neural network?", "Explain neural networks.", "Tell me about neural networks."], "A neural network is many small sums in layers, whose weights are learnt from examples."),
    (["Why do we sleep?", "Tell me why we sleep.", "What is sleep good for?"], "In sleep the body rests and the brain sorts what it has learnt."),
    (["Why do leaves fall?", "Why do trees lose their leaves?", "Tell me why leaves fall."], "In autumn trees drop their leaves to save water in winter."),
    (["What is gravity?", "Explain gravity.", "Why do things fall?"], "Gravity is the force by which masses attract each other."),
    (["Why is snow white?", "Tell me why snow is white.", "What makes snow white?"], "Snow scatters light of every color, so it looks white."),
    (["How does a rainbow form?", "What makes a rainbow?", "Explain rainbows.", "Why is there a rainbow?", "Tell me why there are rainbows.", "What is a rainbow?", "Where do rainbows come from?"], "Drops of rain bend sunlight and part it into its colors."),
]


WHY = ["Explain why {x}.", "Can you explain why {x}?", "Do you know why {x}?", "I wonder why {x}.", "How come {x}?", "What is the reason that {x}?", "Can you tell me why {x}?", "Please tell me why {x}.", "I want to know why {x}."]
WHAT = ["Explain {x}.", "Tell me about {x}.", "Can you explain {x}?", "Do you know what {x} is?", "What do you know about {x}?", "Describe {x}.", "Please explain {x}.", "I want to know what {x} is.", "Tell me what {x} is.",
        "Can you tell me what {x} is?", "Explain to me what {x} is."]


def all_ways(ways: list[str]) -> list[str]:
    """The wordings of the table, and those that follow from the ones that begin with `What is` and `Tell me why`."""
    more = [way.format(x=text[12:-1]) for text in ways if text.startswith("Tell me why ") for way in WHY]
    more += [way.format(x=text[8:-1]) for text in ways if text.startswith("What is ") and not text.endswith((" for?", " of pi?")) for way in WHAT]
    return list(dict.fromkeys(ways + more))


EXPLAINED = [(all_ways(ways), answer) for ways, answer in EXPLANATIONS]


def explain(rng) -> Exchange:
    """A thing explained in one sentence. Kept for the examination: some wordings."""
    ways, answer = one_of(rng, EXPLAINED)
    user = one_of(rng, ways)
    return Exchange(user, answer, "explain " + user, answer)


WORDS = """hello:bonjour:hallo:hola:ciao goodbye:au_revoir:auf_Wiedersehen:adiós:arrivederci thanks:merci:danke:gracias:grazie please:s'il_vous_plaît:bitte:por_favor:per_favore
yes:oui:ja:sí:sì no:non:nein:no:no water:eau:Wasser:agua:acqua bread:pain:Brot:pan:pane house:maison:Haus:casa:casa dog:chien:Hund:perro:cane cat:chat:Katze:gato:gatto
tree:arbre:Baum:árbol:albero book:livre:Buch:libro:libro sun:soleil:Sonne:sol:sole moon:lune:Mond:luna:luna day:jour:Tag:día:giorno night:nuit:Nacht:noche:notte
friend:ami:Freund:amigo:amico love:amour:Liebe:amor:amore red:rouge:rot:rojo:rosso blue:bleu:blau:azul:blu green:vert:grün:verde:verde white:blanc:weiß:blanco:bianco
black:noir:schwarz:negro:nero one:un:eins:uno:uno two:deux:zwei:dos:due three:trois:drei:tres:tre milk:lait:Milch:leche:latte fish:poisson:Fisch:pescado:pesce
horse:cheval:Pferd:caballo:cavallo flower:fleur:Blume:flor:fiore child:enfant:Kind:niño:bambino mother:mère:Mutter:madre:madre father:père:Vater:padre:padre
school:école:Schule:escuela:scuola city:ville:Stadt:ciudad:città bird:oiseau:Vogel:pájaro:uccello apple:pomme:Apfel:manzana:mela cheese:fromage:Käse:queso:formaggio
fire:feu:Feuer:fuego:fuoco snow:neige:Schnee:nieve:neve good:bon:gut:bueno:buono big:grand:groß:grande:grande small:petit:klein:pequeño:piccolo time:temps:Zeit:tiempo:tempo"""
TRANSLATED = rows(WORDS)
TO = ["French", "German", "Spanish", "Italian"]


def translate(rng) -> Exchange:
    """A word in another language. Kept for the examination: some wordings of each."""
    row, to = one_of(rng, TRANSLATED), rng.randrange(4)
    word, language, other = row[0], TO[to], row[1 + to]
    ways = [f"What is {word} in {language}?", f"How do you say {word} in {language}?", f"Translate {word} to {language}.", f"Translate {word} into {language}.", f"{word} in {language}?",
            f"What is the {language} word for {word}?", f'How do I say "{word}" in {language}?']
    user = one_of(rng, ways)
    return Exchange(user, f"{word.capitalize()} in {language} is {other}.", "translate " + user, other)

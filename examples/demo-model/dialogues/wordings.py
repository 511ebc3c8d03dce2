"""Other words for the same: synonyms, and the ways in which people put a request. For training only; the examination asks in the words of the tables.

A template is text with `{values}` in it; only the words between them are changed.
"""

import re
from functools import lru_cache

from .exchange import one_of
from .words import DAYS, coined, person, place, term

# Words that may stand for each other in a request or a description: the first one is replaced by one of the others. With a capital: only where it begins a request.
SYNONYMS = {line.split(": ")[0]: line.split(": ")[1].split(", ") for line in """Find: look for, search for, locate
Book: reserve
Reserve: book
Show: display, present
Check: look up, verify, examine
Buy: purchase, get
Purchase: buy
Get: fetch
Give: hand
Make: produce, create, prepare
Create: make, set up, produce
Start: begin, launch, run
Begin: start
Stop: end, halt
End: stop, finish
Remove: delete, take away, drop
Delete: remove, erase
Cancel: call off, drop
Change: modify, alter, adjust
Set: put, adjust, change
Send: deliver, transmit
Write: put down, note
Store: save, keep
Save: store, keep
Keep: save, store
Calculate: compute, work out, determine
Compute: calculate, work out
Convert: turn, change, transform
Measure: determine, gauge
Compare: contrast
List: show, give
Explain: describe
Describe: explain
Plan: arrange, organize
Arrange: plan
Order: get, request
Rent: hire
Hire: employ
Repair: fix, mend
Fix: repair
Clean: tidy, wash
Wash: clean
Open: unlock
Close: shut
Shut: close
Heat: warm
Cut: trim
Watch: see
want: would like
require: need
large: big
big: large
small: little
cheap: inexpensive, low-cost
fast: quick
quickly: fast, soon
best: ideal, top
nice: pleasant
ill: sick
sick: ill
town: city, place
city: town
car: vehicle, auto
vehicle: car
trip: journey, tour
journey: trip
road: street
route: way
house: home, building
home: house
flat: apartment
apartment: flat
food: meal
meal: dish
dish: meal
recipe: instructions
picture: image, photo
image: picture
photo: picture
photos: pictures
film: movie
movie: film
movies: films
song: track, tune
mail: email, message
email: mail
person: somebody
somebody: a person, someone
people: persons
children: kids
kids: children
child: kid
doctor: physician
medicine: drug
pills: tablets
price: cost
cost: price
money: cash
cash: money
salary: pay, wage
pay: give
amount: quantity, sum
facts: information, details
information: facts, data
details: facts
meeting: appointment
appointment: meeting
event: date
holiday: vacation
holidays: days off
job: work, position
jobs: positions
company: firm
firm: company
customer: client
client: customer
product: article, item
parcel: package
package: parcel
shop: store
folder: directory
directory: folder
file: document
document: file
program: application
programs: applications
command: instruction
machine: device
device: machine
server: host
error: problem
problem: trouble
mistakes: errors
question: query
words: terms
reason: cause
weather: conditions
storm: gale
temperature: heat
student: pupil
teacher: instructor
pupil: student
match: game
team: club
player: sportsman
win: succeed
result: outcome
speed: pace
distance: length
weight: mass
height: size
volume: capacity
area: surface
chance: probability, odds
likely: probable
garden: yard
plants: flowers
tree: plant
animal: creature
pet: animal
present: gift
gift: present
party: celebration
ticket: pass
seat: place
bag: suitcase
luggage: baggage
suitcase: bag
phone: call
believe: think
Move: shift
Turn: rotate
Add: append, insert
Compress: shrink
Pack: wrap up
Test: try""".strip().splitlines()}
# In names of functions: a word, and what may stand for it there.
NAME_WORDS = {line.split(": ")[0]: line.split(": ")[1].split() for line in """find: search lookup get query list discover
search: find lookup query
get: fetch retrieve show lookup read find
list: get show fetch
show: get display view
check: get verify lookup test
make: create build generate new
create: make add new build
add: insert create put register
set: change adjust update control
change: set update modify edit
update: set change modify
send: deliver submit dispatch
book: reserve order
reserve: book
order: buy request
buy: purchase order
rent: book hire
cancel: remove delete
remove: delete drop
log: record track add save
track: log follow get
read: get load open
write: save store put
convert: transform change translate
count: get number
start: run launch begin
run: start execute launch
plan: create make schedule organize
call: phone request
pay: settle transfer
suggest: recommend find get
identify: recognize detect name
measure: get read check
report: submit send file
info: details data lookup facts
price: cost
cost: price
trip: journey
picture: image photo
image: picture photo
mail: email message
file: document
city: town
person: contact
bill: invoice
rating: score
time: duration
amount: quantity""".splitlines()}
ORDERS = set("""Add Adopt Allow Answer Apply Arm Ask Assign Balance Bill Block Book Borrow Bring Build Buy Calculate Call Cancel Carve Change Check Cite Clean Close Compress Convert Copy Correct Count
Cover Create Cut Deal Define Delete Describe Digitize Divide Do Donate Download Encode End Enroll Enter Execute Explain Export Extract Feed Fetch Fill Find Finish Follow Forward Format Generate Get Give
Go Grade Hand Have Heat Help Hide Hire Identify Inform Insert Install Insure Invite Invoice Join Jump Keep Let Limit List Load Lock Log Look Make Mark Measure Mix Move Multiply Mow Name Note Offer Open
Order Pack Pass Pay Pick Ping Plan Play Post Prepare Print Protect Publish Push Put Raise Rate Read Rename Recall Record Register Remember Remind Remove Renew Rent Repair Replace Report Request
Reserve Resize Restart Return Review Ring Roll Rotate Round Run Save Say Scale Scan Schedule Search Sell Send Set Settle Share Shorten Show Shuffle Sign Skip Sort Speak Split Start Stop Store Submit Suggest
Sum Switch Take Tell Test Text Thank Thin Track Transfer Translate Try Turn Undo Unlock Unpack Update Upload Use Vacuum Vaccinate Wait Wake Warm Wash Water Write""".split())

ARTICLE = re.compile(r"\b([Aa])n? ([a-z])")


@lru_cache(maxsize=None)
def parts(template: str) -> tuple:
    """A template as (text, its other words) in order; values and what stands between words have none."""
    found = []
    for text in re.findall(r"\{[^}]*\}|[A-Za-z']+|[^A-Za-z{]+", template):
        others = SYNONYMS.get(text) or SYNONYMS.get(text.lower())
        found.append((text, others))
    return tuple(found)


def like(word: str, other: str) -> str:
    """The other word with a capital if the word has one."""
    return other[0].upper() + other[1:] if word[0].isupper() else other


def reworded(rng, template: str, share: float) -> str:
    """The template with a share of its words replaced by others of the same meaning. The first word of a request stays in its class: an order stays one."""
    text = "".join(like(text, one_of(rng, others)) if others and rng.random() < share else text for text, others in parts(template))
    return ARTICLE.sub(lambda found: found[1] + ("n " if found[2] in "aeio" else " ") + found[2], text)


SMALL = set("""a an the and or of in on at to for from by with without is are was were be it its i me my we us our you your he she they them that this there here what which who whose how when where why do does did can could
would should will may must have has had not no if so as than then too very more most less least any some all each every please""".split())


def veiled(rng, template: str, share: float) -> str:
    """The template with a share of its words that carry meaning replaced by unknown ones: what it is about has to be guessed from the rest and the values."""
    return "".join(like(text, coined(rng)) if text[0].isalpha() and len(text) > 2 and text.lower() not in SMALL and rng.random() < share else text for text, _ in parts(template))


class Swap:
    """Other words for the words of one function, always the same for one word: what is left of its sense is that they are the same in the
    function and in the request. `share` of the words that carry meaning are swapped."""

    def __init__(self, rng, words: list[str], share: float):
        self.rng, self.words, self.share, self.known = rng, words, share, {}

    def word(self, word: str) -> str:
        """What stands for the word; a plural stays one."""
        lower = word.lower()
        if len(lower) < 3 or lower in SMALL:
            return word
        end = "s" if lower.endswith("s") and not lower.endswith("ss") and len(lower) > 3 else ""
        stem = lower[: len(lower) - len(end)]
        if stem not in self.known:
            self.known[stem] = stem if self.rng.random() >= self.share else one_of(self.rng, self.words) if self.rng.random() < 0.75 else coined(self.rng)
        found = self.known[stem]
        return like(word, found + ("" if found.endswith("s") else end)) if found != stem else word

    def text(self, template: str) -> str:
        return "".join(self.word(text) if text[0].isalpha() else text for text, _ in parts(template))


def lowered(template: str) -> str:
    """The template as it goes on within a sentence."""
    return template if template[:2] in ("I ", "I'") or template[0] == "{" or template[1:2].isupper() else template[0].lower() + template[1:]


ASKING = ["Please ", "Please ", "Can you ", "Could you ", "Could you please ", "Would you ", "I want you to ", "I would like you to ", "I need you to ", "Now ", "Next, ", "You should ", "Help me to ", "Kindly ", "I'd like you to ",
          "It would be nice if you could ", "Can you please ", "Would you please ", "Go and "]
WONDERING = ["Tell me, ", "Do you know: ", "I wonder: ", "Quick question: ", "One more thing: ", "Hey, ", "Please tell me: ", "I would like to know: ", "Can you find out: "]
OPENING = ["Hey, ", "Hello, ", "Hi, ", "By the way, ", "Okay, ", "So, ", "One more thing: ", "Well, "]
SCENES = ["I am in a hurry.", "It is late already.", "I have guests tonight.", "I am new here.", "This is important.", "I just came home.", "I do not have much time.", "My boss asked me for this.", "I am on the train.", "Sorry to bother you.",
          "I am planning ahead.", "We talked about it yesterday.", "I hope you can help.", "I tried it myself and failed.", "I am curious.", "Good morning."]


def scene(rng) -> str:
    """A sentence before a request that asks for nothing."""
    return one_of(rng, [one_of(rng, SCENES), one_of(rng, SCENES), f"My name is {person(rng)}.", f"I am with {person(rng)}.", f"I am in {place(rng)} now.", f"Today is {one_of(rng, DAYS)}.", f"It is about my {term(rng)}."])


NO_ORDER = ("Do I ", "Do we ", "Do you ", "Do people ", "Do they ", "Have you ")


def framed(rng, template: str) -> str:
    """A request, put in another way now and then: politely, as a wish, after another sentence."""
    pick = rng.random()
    if pick < 0.3:
        if template.split(" ", 1)[0] in ORDERS and not template.endswith("?") and not template.startswith(NO_ORDER):
            start = one_of(rng, ASKING)
            return start + lowered(template) + ("?" if start.startswith(("Can", "Could", "Would")) and rng.random() < 0.8 else "")
        return one_of(rng, WONDERING if template.endswith("?") else OPENING) + lowered(template)
    return f"{scene(rng)} {template}" if pick < 0.36 else template

"""Everyday functions put together from things and what is done with them: rows in the form of `everyday.py`, for training only.

A thing stands beside others with the same deed and beside other deeds with the same thing, under several words each: so a request has to be read for both.
"""

import re

from .exchange import held_out

# thing, plural: other words for one of it / how one is told apart (`name:kind`) / by what it is searched (`name:kind phrase`) / what can be done with it
THINGS = [line.split(" / ") for line in """
flight flights: plane / flight_number:id / destination:city to {destination} / search details book cancel status price rate
train trains: rail connection / train_number:id / station:city from {station} / search details book cancel status price
bus buses: coach / line:age / stop:city at {stop} / search details book status price
cruise cruises: ship tour / cruise_id:id / port:city from {port} / search details book cancel price rate
hostel hostels: bed for the night / hostel:name / city:city in {city} / search details book cancel price rate compare
cabin cabins: hut / cabin:name / region:country in {region} / search details book cancel price rate
restaurant restaurants: place to eat / restaurant:name / city:city in {city} / search details book rate compare hours
cafe cafes: coffee house / cafe:name / street:street near {street} / search details rate hours compare
museum museums: gallery / museum:name / city:city in {city} / search details price hours rate compare
theater theaters: stage / theater:name / city:city in {city} / search details hours rate
concert concerts: live show / concert_id:id / genre:genre of {genre} / search details book cancel price remind
festival festivals: big party / festival:name / country:country in {country} / search details book price remind
course courses: class / course:subject / level:beginner|medium|expert for {level} learners / search details book cancel price rate
lesson lessons: hour of teaching / lesson_id:id / subject:subject in {subject} / search details book cancel remind move
lecture lectures: talk / lecture:phrase / topic:subject about {topic} / search details remind share rate
library libraries: reading room / library:name / city:city in {city} / search details hours
magazine magazines: journal / magazine:title / topic:topic about {topic} / search details buy cancel rate
podcast podcasts: audio show / podcast:title / topic:topic on {topic} / search details rate share add
movie movies: film / movie:title / genre:genre of the kind {genre} / search details rate share add remove compare
series series: show / series:title / genre:genre of the kind {genre} / search details rate share add remove
album albums: record / album:title / artist:person by {artist} / search details buy rate share price
poem poems: piece of verse / poem:title / poet:person by {poet} / search details share translate
photo photos: picture / photo:image / album:title in {album} / search details share delete rename print
video videos: clip / video:video / topic:topic about {topic} / search details share delete rename rate
recording recordings: tape / recording:audio / speaker:person of {speaker} / search details share delete rename
document documents: paper / document:file / folder:path in {folder} / search details share delete rename print translate approve
spreadsheet spreadsheets: sheet / sheet:file / owner:person of {owner} / search details share delete rename print
presentation presentations: set of slides / presentation:file / author:person by {author} / search details share delete rename print
contract contracts: agreement / contract_id:id / partner:name with {partner} / search details cancel share print approve
invoice invoices: bill / invoice_number:id / customer:person of {customer} / search details delete share print approve pay
receipt receipts: proof of payment / receipt:id / store:name from {store} / search details delete share print
payment payments: transfer of money / payment_id:id / payee:person to {payee} / search details cancel status approve
subscription subscriptions: plan / subscription:id / service:name of {service} / search details cancel price pay
donation donations: gift of money / donation_id:id / charity:name to {charity} / search details cancel
parcel parcels: package / tracking_code:id / sender:person from {sender} / search details status cancel
letter letters: written message / letter:id / sender:person from {sender} / search details send delete translate print
order orders: purchase / order_number:id / shop:name at {shop} / search details cancel status pay
product products: article / product_code:id / category:budget for {category} / details buy price rate compare add
phone phones: mobile / model:name / brand:name of {brand} / search details buy price rate compare
laptop laptops: computer / model:name / brand:name by {brand} / search details buy price rate compare
camera cameras: device for pictures / model:name / brand:name from {brand} / search details buy price rate compare
sofa sofas: couch / model:name / material:material made of {material} / search details buy price rate compare
bed beds: place to sleep / bed:name / material:material of {material} / search details buy price rate
tool tools: thing to work with / tool:supply / room:room in the {room} / search details buy lend price
jacket jackets: coat / jacket:id / color:color in {color} / search details buy price rate compare
ring rings: piece of jewelry / ring_id:id / metal:gold|silver|platinum of {metal} / search details buy price
flower flowers: plant with blossoms / flower:flower / color:color in {color} / search details buy send price
recipe recipes: way to cook / recipe:title / ingredient:food with {ingredient} / search details rate share add delete
menu menus: list of dishes / menu:title / restaurant:name of {restaurant} / search details share print translate
wine wines: bottle to drink / wine:name / country:country from {country} / search details buy price rate compare
diet diets: way to eat / diet:name / goal:strength|health|weight for {goal} / search details rate compare
workout workouts: training / workout:title / muscle:body for the {muscle} / search details start rate add
hike hikes: walk / trail:name / region:city near {region} / search details rate share start
race races: run / race:name / city:city in {city} / search details book cancel remind
player players: sportsman / player:person / club:name of {club} / search details compare rate
club clubs: union / club:name / sport:sport for {sport} / search details rate hours
stadium stadiums: arena / stadium:name / city:city in {city} / search details hours price
quiz quizzes: guessing game / quiz:title / topic:topic about {topic} / search start rate share
puzzle puzzles: riddle / puzzle_id:id / level:easy|medium|hard of level {level} / search details start rate
task tasks: thing to do / task_id:id / project:word of {project} / search details assign finish delete move status remind
ticket tickets: report of a problem / ticket_id:id / status:open|closed|waiting that are {status} / search details assign finish status
project projects: piece of work / project:word / manager:person led by {manager} / search details finish delete status share rename
meeting meetings: talk with others / meeting_id:id / attendee:person with {attendee} / search details cancel move remind share
interview interviews: talk with a candidate / interview_id:id / candidate:person with {candidate} / search details cancel move remind
vacancy vacancies: open position / vacancy_id:id / profession:job for {profession} / search details apply share
employee employees: worker / employee:person / department:subject in the {department} department / search details rate compare
customer customers: client / customer:person / country:country from {country} / search details add delete call
supplier suppliers: seller / supplier:name / material:material of {material} / search details add delete rate call
contact contacts: person I know / contact:person / city:city in {city} / search details add delete call share
friend friends: person I like / friend:person / hobby:hobby who likes {hobby} / search details add call
nurse nurses: person who cares for the sick / nurse:person / city:city in {city} / search details call book rate
plumber plumbers: person for pipes / plumber:person / city:city in {city} / search details call book rate price
lawyer lawyers: person for court / lawyer:person / city:city in {city} / search details call book rate price
tutor tutors: private teacher / tutor:person / subject:subject for {subject} / search details call book rate price
clinic clinics: hospital / clinic:name / city:city in {city} / search details hours rate call
patient patients: sick person / patient:person / doctor:person of doctor {doctor} / search details add call
symptom symptoms: complaint / symptom:symptom / organ:body in the {organ} / search details add
pill pills: tablet / pill:name / illness:symptom against {illness} / search details buy remind price
pet pets: animal at home / pet:person / species:animal that is a {species} / search details add feed
plant plants: green thing / plant:flower / room:room in the {room} / search details water buy price
lamp lamps: thing that shines / lamp:word / room:room in the {room} / search details buy price
heater heaters: thing that warms / heater:word / room:room in the {room} / search details start stop status
sensor sensors: measuring device / sensor_id:id / room:room in the {room} / search details start stop status
robot robots: machine that helps / robot:person / floor:cellar|ground|upper on the {floor} floor / search start stop status
printer printers: machine that prints / printer:word / room:room in the {room} / search details start stop status
server servers: host / server:host / region:country in {region} / search details start stop status delete
container containers: box with a program / container:word / host:host on {host} / search details start stop status delete rename
backup backups: safe copy / backup_id:id / database:word of {database} / search details start delete status
branch branches: line of work / branch:word / repository:word in {repository} / search details delete rename compare approve
issue issues: bug / issue_number:age / repository:word in {repository} / search details assign finish share
commit commits: change of code / commit:id / author:person by {author} / search details compare share
package packages: library / package:word / language:language_of_code for {language} / search details add delete compare
certificate certificates: proof of identity / certificate:id / domain:host for {domain} / search details delete status approve
account accounts: login / account:email / service:name at {service} / search details delete status approve
playlist playlists: list of songs / playlist:title / mood:happy|calm|sad for a {mood} mood / search details start share delete rename
alarm alarms: signal to wake up / alarm:word / day:day on {day} / search delete start stop
reminder reminders: note not to forget / reminder_id:id / date:date on {date} / search details delete move
event events: thing that happens / event:title / city:city in {city} / search details book cancel share remind move
wedding weddings: marriage / couple:people / month:month in {month} / search details move remind
birthday birthdays: day of birth / person:person / month:month in {month} / search remind add
house houses: home / house_id:id / city:city in {city} / search details price compare rate
flat flats: apartment / flat_id:id / district:city in {district} / search details price compare rate book
garden gardens: green place / garden:name / city:city in {city} / search details hours water
beach beaches: shore / beach:name / country:country in {country} / search details rate compare
mountain mountains: peak / mountain:name / country:country in {country} / search details compare
river rivers: stream / river:name / country:country through {country} / search details compare
lake lakes: water / lake:name / country:country in {country} / search details compare
planet planets: world / planet:planet / star:word around {star} / details compare
metal metals: material / metal:element / color:color of {color} color / search details price compare
car cars: vehicle / car:id / brand:name from {brand} / search details buy price compare rate start
boat boats: small ship / boat:name / harbor:city in {harbor} / search details book price rate
scooter scooters: small vehicle / scooter:id / street:street near {street} / search start stop price status
parking_spot spots: place for the car / spot:id / street:street at {street} / search book cancel price status
charger chargers: place to load the car / charger:id / street:street at {street} / search start stop price status
loan loans: credit / loan_id:id / bank:name at {bank} / search details price compare pay apply
insurance insurances: cover / policy:id / company:name of {company} / search details price compare cancel
stock stocks: share / symbol:ticker / sector:topic in {sector} / search details buy price compare sell
coin coins: digital money / coin:ticker / market:name on {market} / search details buy price compare sell
visa visas: permission to enter / visa_id:id / country:country for {country} / details price status apply
law laws: rule / law:id / country:country of {country} / search details compare
story stories: tale / story:title / hero:animal about a {hero} / search details share translate rate
word words: expression / word:word / language:language in {language} / search details translate add
""".strip().splitlines()]

# deed: words for it in names, descriptions, requests and parameters beside the ones of the thing. {o}: the thing or another word for it, {t} the thing with its plural {p},
# {id} what tells it apart, {by} what it is searched by.
DEEDS = {
    "search": (["find {p}", "search {p}", "list {p}", "get {p}"], ["Find {p} {by}", "Search for {p} {by}", "All {p} {by}", "List the {p} {by}"], "{filter} limit:few?",
               ["Find[ {{limit}}] {p} {by}", "Which {p} are there {by}?", "I am looking for a {o} {by}", "Do you know a {o} {by}?", "Are there any {p} {by}?", "I need a {o} {by}", "Show me[ up to {{limit}}] {p} {by}", "Is there a good {o} {by}?"]),
    "details": (["get {t} details", "show {t}", "describe {t}", "{t} info"], ["Details of a {t}", "Show what is known about a {t}", "Get all information on a {t}"], "{key}",
                ["Tell me more about the {o} {id}", "What do you know about the {o} {id}?", "Show me the {o} {id}", "I want to know everything about the {o} {id}", "Give me the details of {id}, the {o}"]),
    "book": (["book {t}", "reserve {t}", "{t} booking"], ["Book a {t}", "Reserve a {t} for some people", "Make a booking for a {t}"], "{key} date:date people:few?",
             ["Book the {o} {id} for {{date}}[, {{people}} people]", "I would like to have the {o} {id} on {{date}}[ for {{people}} people]", "We want the {o} {id} on {{date}}[, there are {{people}} of us]", "Get me the {o} {id}, {{date}}[, for {{people}}]"]),
    "cancel": (["cancel {t}", "call off {t}", "{t} cancel"], ["Cancel a {t}", "Call off a {t} that was ordered or planned", "End a {t}"], "{key} reason:quote?",
               ["I do not need the {o} {id} any more[ because {{reason}}]", "Call off the {o} {id}[, the reason is {{reason}}]", "Cancel my {o} {id}[: {{reason}}]", "The {o} {id} is not needed any longer", "We cannot take the {o} {id}, call it off"]),
    "status": (["get {t} status", "check {t}", "track {t}"], ["Status of a {t}", "Check how it stands with a {t}", "What a {t} is doing now"], "{key}",
               ["How is the {o} {id} doing?", "What about the {o} {id}?", "Is everything all right with the {o} {id}?", "How does it stand with the {o} {id}?", "Is the {o} {id} ready?"]),
    "price": (["get {t} price", "{t} cost", "price of {t}"], ["Price of a {t}", "What a {t} costs", "Find out how much money a {t} is"], "{key} currency:money?",
              ["How much is the {o} {id}[ in {{currency}}]?", "What do I pay for the {o} {id}[ in {{currency}}]?", "Is the {o} {id} expensive?", "What does the {o} {id} cost[ in {{currency}}]?"]),
    "rate": (["rate {t}", "review {t}", "{t} rating"], ["Rate a {t} with stars", "Say how good a {t} is", "Give a {t} some stars"], "{key} stars:stars comment:quote?",
             ["The {o} {id} was great, {{stars}} stars[: {{comment}}]", "I give the {o} {id} {{stars}} stars[ and say {{comment}}]", "{{stars}} of 5 for the {o} {id}[, {{comment}}]", "My opinion of the {o} {id}: {{stars}} stars[, {{comment}}]"]),
    "compare": (["compare {p}", "{t} comparison"], ["Compare two {p}", "Show in what two {p} differ"], "first:{kind} second:{kind}",
                ["Which {o} is better, {{first}} or {{second}}?", "Compare the {p} {{first}} and {{second}}", "What is the difference between the {p} {{first}} and {{second}}?", "Should I take the {o} {{first}} or {{second}}?"]),
    "hours": (["{t} hours", "get {t} hours", "opening times {t}"], ["When a {t} is open", "Opening hours of a {t}"], "{key} day:day?",
              ["When can I go to the {o} {id}[ on {{day}}]?", "Until when is the {o} {id} open[ on {{day}}]?", "Is the {o} {id} closed[ on {{day}}]?"]),
    "remind": (["remind of {t}", "{t} reminder"], ["Remind me of a {t}", "Send a notice before a {t}"], "{key} minutes_before:minutes",
               ["Do not let me forget the {o} {id}, {{minutes_before}} minutes before", "Tell me {{minutes_before}} minutes before the {o} {id}", "Give me a sign {{minutes_before}} minutes ahead of the {o} {id}"]),
    "move": (["move {t}", "reschedule {t}"], ["Put a {t} on another day", "Change the date of a {t}"], "{key} new_date:date",
             ["The {o} {id} should be on {{new_date}} instead", "Put the {o} {id} on {{new_date}}", "I cannot come to the {o} {id}, make it {{new_date}}"]),
    "share": (["share {t}", "send {t}"], ["Share a {t} with somebody", "Let somebody else see a {t}"], "{key} person:person",
              ["{{person}} should see the {o} {id} too", "Let {{person}} have the {o} {id}", "Show the {o} {id} to {{person}}", "Pass the {o} {id} on to {{person}}"]),
    "send": (["send {t}", "deliver {t}"], ["Send a {t} to somebody", "Have a {t} delivered"], "{key} receiver:person",
             ["Send the {o} {id} to {{receiver}}", "{{receiver}} should get the {o} {id}", "I want {{receiver}} to have the {o} {id}"]),
    "add": (["add {t}", "save {t}", "create {t}"], ["Add a {t} to my list", "Save a {t}", "Put a {t} on the list"], "{key} note:quote?",
            ["Keep the {o} {id} on my list[ with the note {{note}}]", "Add the {o} {id}[, note {{note}}]", "There is a new {o}: {id}[ ({{note}})]", "Remember the {o} {id}[: {{note}}]"]),
    "remove": (["remove {t}", "drop {t}"], ["Take a {t} off my list"], "{key}", ["Take the {o} {id} off my list", "I have seen enough of the {o} {id}, take it off", "The {o} {id} can go from the list"]),
    "delete": (["delete {t}", "remove {t}", "erase {t}"], ["Delete a {t}", "Remove a {t} for ever"], "{key}", ["Get rid of the {o} {id}", "I do not want to keep the {o} {id}", "Throw the {o} {id} away", "Erase the {o} {id}", "The {o} {id} can go"]),
    "rename": (["rename {t}", "change {t} name"], ["Give a {t} another name"], "{key} new_name:word", ["Call the {o} {id} {{new_name}} from now on", "The {o} {id} should be called {{new_name}}", "Rename the {o} {id} to {{new_name}}"]),
    "print": (["print {t}"], ["Put a {t} on paper"], "{key} copies:few?", ["I need the {o} {id} on paper[, {{copies}} times]", "Print the {o} {id}[ {{copies}} times]", "Give me[ {{copies}} copies of] the {o} {id} to hold in my hands"]),
    "translate": (["translate {t}"], ["Translate a {t} into a language"], "{key} language:language", ["I cannot read the {o} {id}, I need it in {{language}}", "What does the {o} {id} say in {{language}}?", "Make a {{language}} version of the {o} {id}"]),
    "approve": (["approve {t}", "accept {t}"], ["Say yes to a {t}", "Accept a {t}"], "{key}", ["The {o} {id} is fine with me", "I agree with the {o} {id}", "Say yes to the {o} {id}", "Let the {o} {id} through"]),
    "pay": (["pay {t}", "settle {t}"], ["Pay for a {t}"], "{key} method:card|cash|transfer?", ["Pay the {o} {id}[ by {{method}}]", "I still owe the money for the {o} {id}[, take my {{method}}]", "Settle the {o} {id}[ by {{method}}]"]),
    "buy": (["buy {t}", "order {t}", "purchase {t}"], ["Buy a {t}", "Order some {p}"], "{key} quantity:few?", ["I want to have the {o} {id}[, {{quantity}} of it]", "I take the {o} {id}[ {{quantity}} times]", "Get me[ {{quantity}} of] the {o} {id}", "Order the {o} {id}[, {{quantity}} pieces]"]),
    "sell": (["sell {t}"], ["Sell a {t}"], "{key} quantity:few", ["I want to get rid of {{quantity}} of the {o} {id}", "Sell {{quantity}} of the {o} {id}", "Turn {{quantity}} of my {o} {id} into money"]),
    "lend": (["lend {t}"], ["Lend a {t} to somebody"], "{key} to:person", ["{{to}} may have the {o} {id} for a while", "Lend the {o} {id} to {{to}}", "Give {{to}} the {o} {id} until it is no longer needed"]),
    "assign": (["assign {t}", "give {t}"], ["Give a {t} to somebody who does it"], "{key} assignee:person", ["{{assignee}} should do the {o} {id}", "Let {{assignee}} work on the {o} {id}", "The {o} {id} is for {{assignee}}"]),
    "finish": (["close {t}", "finish {t}", "complete {t}"], ["Mark a {t} as done", "Close a {t}"], "{key}", ["The {o} {id} is done", "We have finished the {o} {id}", "Nothing is left to do for the {o} {id}"]),
    "apply": (["apply for {t}", "request {t}"], ["Ask for a {t}", "Hand in an application for a {t}"], "{key} applicant:person", ["{{applicant}} would like to have the {o} {id}", "Ask for the {o} {id} for {{applicant}}", "Hand in the papers of {{applicant}} for the {o} {id}"]),
    "call": (["call {t}", "phone {t}"], ["Call a {t} by phone"], "{key}", ["I have to talk to the {o} {id}", "Get the {o} {id} on the phone", "Ring up the {o} {id}"]),
    "start": (["start {t}", "turn on {t}", "run {t}"], ["Start a {t}", "Let a {t} run"], "{key}", ["Let the {o} {id} run", "Get the {o} {id} going", "Start the {o} {id}", "I want to begin with the {o} {id}"]),
    "stop": (["stop {t}", "turn off {t}", "halt {t}"], ["Stop a {t}", "Let a {t} rest"], "{key}", ["Enough of the {o} {id}", "The {o} {id} should not go on", "Let the {o} {id} rest", "Stop the {o} {id}"]),
    "feed": (["feed {t}"], ["Give food to a {t}"], "{key} grams:hundreds?", ["The {o} {id} is hungry[, {{grams}} grams]", "Give {id}, the {o}, something to eat[, {{grams}} g]"]),
    "water": (["water {t}"], ["Give water to a {t}"], "{key} liters:few?", ["The {o} {id} is dry[, {{liters}} liters]", "The {o} {id} needs to drink[ {{liters}} liters]"]),
}


def article_for(text: str) -> str:
    """The text with `an` where `a` stands before a vowel."""
    return re.sub(r"\ba (?=[aeio])", "an ", text)


def rows_of(thing: list[str]) -> list[tuple]:
    """A row for each deed of a thing."""
    (names, other), key, search, deeds = thing[0].split(": "), thing[1], thing[2], thing[3].split()
    noun, plural = names.replace("_", "-").split(" ")[0].replace("-", " "), names.split(" ")[1]
    filter_, by = search.split(" ", 1)
    rows = []
    for deed in deeds:
        name_ways, descriptions, parameters, requests = DEEDS[deed]
        values = {"t": noun, "p": plural, "id": "{" + key.split(":")[0] + "}", "by": by}
        plain = by.replace("{", "the ").replace("}", "").replace("_", " ")
        asked = [article_for(way.format(o=word, **values)) for way in requests for word in (noun, other)]
        said = [article_for(way.format(**values | {"by": plain})) for way in descriptions]
        rows.append(([way.format(**values) for way in name_ways], noun, said, parameters.format(filter=filter_, key=key, kind=key.split(":")[1]), asked))
    return rows


def open_things(closed: set[str]) -> dict[str, list[tuple]]:
    """The rows of each thing, but of none that has a word of the examination: of `closed`, or a noun that is held out."""
    found = {}
    for thing in THINGS:
        words = set(thing[0].replace(":", "").replace("_", " ").split())
        if not any(word in closed or word.removesuffix("s") in closed or held_out("noun " + word) for word in words):
            found[thing[0].split(" ")[0]] = rows_of(thing)
    return found


def by_deed(things: dict[str, list[tuple]]) -> list[list[tuple]]:
    """The rows of all things that one deed is done with, for each deed that several have."""
    found: dict[tuple, list[tuple]] = {}
    for rows in things.values():
        for row in rows:
            found.setdefault(tuple(way.replace(row[1], "") for way in row[2])[:1] + tuple(row[3].split()[1:]), []).append(row)
    return [rows for rows in found.values() if len(rows) > 3]

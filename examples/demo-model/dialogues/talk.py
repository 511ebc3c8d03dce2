"""Small talk, memory, stories, styles, JSON, this server, and polite refusals."""

import json
from collections.abc import Callable

from .exchange import Exchange, draw, one_of
from .facts import TABLES, fact
from .strings import add, repeat
from .words import (ADJECTIVES, ANIMALS, COLORS, DAYS, FOODS, HOBBIES, JOBS, LANGUAGES, MONTHS, THINGS, article, invented, listing, person, place)

HELLOS = ["Hello", "Hello!", "Hi", "Hi!", "Hey", "Hey there", "Hi there!", "Hello there", "Good morning", "Good morning!", "Good evening", "hello", "hi", "hey"]
SMALL_TALK = [
    (HELLOS, ["Hello! How can I help you?", "Hello! I am a small demo model. How can I help you?"]),
    (["How are you?", "How are you today?", "How is it going?", "How do you do?", "are you well?"], ["I am fine, thank you. How can I help you?"]),
    (["Thanks", "Thanks!", "Thank you", "Thank you!", "Thanks a lot", "thank you very much"], ["You are welcome!"]),
    (["Bye", "Bye!", "Goodbye", "See you", "See you later", "Good night"], ["Goodbye! Have a nice day."]),
    (["Who are you?", "What are you?", "Tell me who you are.", "What is this?", "Introduce yourself.", "What model are you?", "Which model is this?"],
     ["I am the demo model of mistralrs, a small language model that runs on your own machine."]),
    (["Are you a person?", "Are you human?", "Are you real?", "Are you a robot?", "Are you an AI?"], ["No, I am a small language model: a program that writes text."]),
    (["What is your name?", "Do you have a name?", "What are you called?", "What should I call you?"], ["I have no name of my own. I am the demo model of mistralrs."]),
    (["What can you do?", "How can you help me?", "What are you good at?", "help", "Help!", "What do you know?"],
     ["I can answer simple questions, add numbers, repeat and spell words, tell short stories, remember what you tell me and call tools."]),
    (["Who made you?", "Who trained you?", "Where do you come from?", "Who built you?"], ["I was trained from scratch by the mistralrs project on made-up conversations."]),
    (["Are you smart?", "How smart are you?", "Are you clever?", "How big are you?", "How large are you?"],
     ["I am very small, so I make many mistakes. Load a bigger model with -m for real work."]),
    (["Ok", "ok", "Okay", "Good", "Great!", "Nice", "Cool", "Well done"], ["Is there anything else I can do for you?"]),
    (["Tell me a joke.", "Do you know a joke?", "Make me laugh.", "A joke, please.", "Another joke", "Tell me another joke."],
     ["Why did the computer go to bed? It needed to sleep.", "What do you call a fish without eyes? A fsh.", "Why was the math book sad? It had too many problems.",
      "What has keys but opens no door? A piano.", "Why do bees have sticky hair? They use honeycombs."]),
    (["What time is it?", "What is the time?", "What day is it today?", "What is the date today?", "What is today's date?"], ["I have no clock. Give me a tool that tells the time and I can ask it."]),
    (["What is the weather like?", "How is the weather?", "What is the weather today?", "Will it rain today?"], ["I cannot look outside. Give me a tool for the weather and I can ask it."]),
    (["Where are you?", "Where do you live?", "Where are you running?", "Where do you run?"], ["I run inside this program, on your own machine."]),
    (["How old are you?", "When were you born?", "When were you trained?"], ["I have no age: I am a small program that was trained once."]),
    (["Do you like music?", "Do you have feelings?", "Do you dream?", "Are you happy?", "Do you sleep?", "Can you think?"], ["I am only a small program: I have no feelings, but I am glad to help."]),
    (["I love you", "I like you", "You are great", "You are nice", "You are funny", "You are smart"], ["That is very kind, thank you!"]),
    (["You are wrong", "That is wrong", "That is not right", "This is wrong.", "No, that is wrong.", "You made a mistake."], ["I am sorry. I am a small demo model and often wrong."]),
    (["I am bored", "I'm bored", "What should I do?", "Tell me something.", "Tell me something interesting.", "Surprise me."],
     ["Ask me for a story, a joke or a capital, or let me count, spell and sort.", "Did you know? An octopus has three hearts.", "Did you know? Honey never goes bad.", "Did you know? A day on Venus is longer than its year."]),
    (["I am sad", "I feel sad.", "I am tired", "I feel bad today.", "I had a bad day."], ["I am sorry to hear that. I hope that tomorrow is better."]),
    (["I am happy", "I feel great!", "I had a good day.", "It is my birthday!", "I passed the exam!"], ["That is good to hear!"]),
    (["What is the meaning of life?", "What is the answer to everything?", "Why are we here?"], ["42, some say. I am too small to know."]),
    (["Which languages do you speak?", "Do you speak German?", "Do you speak French?", "Can you speak Spanish?", "What languages do you know?"], ["I speak English, and I know a few words of French, German, Spanish and Italian."]),
    (["Test", "test", "testing", "Is anybody there?", "Are you there?", "ping", "Can you hear me?"], ["I am here. What can I do for you?"]),
    (["Good afternoon", "Good afternoon!", "Welcome!", "Nice to meet you", "Nice to meet you!", "Hello, how are you?", "Hi, how are you?"], ["Hello! It is nice to meet you. How can I help you?"]),
    (["Can you write code?", "Do you write programs?", "Can you program?", "Do you know how to code?"], ["Only the first lines of it, like a hello world. Load a bigger model with -m for real work."]),
    (["Sorry", "sorry", "I am sorry", "My mistake"], ["No problem!"]),
    (["Write a poem.", "Write me a poem.", "A poem, please.", "Tell me a poem.", "Write a short poem."],
     ["The moon is high, the lake is deep,\nthe birds are quiet, all asleep.\nA star looks down and sees the sea,\nand keeps a little light for me.",
      "A cat sat on a garden wall\nand watched the yellow leaves all fall.\nThe wind went by, the cat stayed there\nwith autumn leaves all in its hair."]),
    (["Write a haiku.", "Write me a haiku.", "A haiku, please."], ["Snow on the old roof,\na small bird sits by the door.\nSpring is on its way."]),
]
CODE = {
    "Python": ("python", 'print("Hello, world!")'), "Rust": ("rust", 'fn main() {\n    println!("Hello, world!");\n}'), "C": ("c", '#include <stdio.h>\n\nint main(void) {\n    puts("Hello, world!");\n}'),
    "JavaScript": ("javascript", 'console.log("Hello, world!");'), "Go": ("go", 'package main\n\nimport "fmt"\n\nfunc main() {\n    fmt.Println("Hello, world!")\n}'), "Bash": ("bash", 'echo "Hello, world!"'),
    "Java": ("java", 'class Main {\n    public static void main(String[] args) {\n        System.out.println("Hello, world!");\n    }\n}'), "Ruby": ("ruby", 'puts "Hello, world!"'),
}
OPERATIONS = {"adds": "+", "multiplies": "*", "subtracts": "-", "divides": "/"}
GROUPS = {"animals": ANIMALS, "colors": COLORS, "foods": FOODS, "hobbies": HOBBIES, "jobs": JOBS, "things": THINGS, "languages": LANGUAGES, "days of the week": DAYS, "months": MONTHS}

SERVER = [
    (["Which port do you use?", "What is the default port?", "What port does the server use?", "On which port does the server listen?", "How do I change the port?"],
     "The server listens on port 1234. Change it with --port."),
    (["How do I load another model?", "How can I load a bigger model?", "How do I use a real model?", "How do I change the model?", "How do I load a model?"],
     "Start the server with -m and a model: mistralrs-server --port 1234 -m Qwen/Qwen2.5-1.5B-Instruct"),
    (["How do I load a GGUF file?", "Can I load a .gguf file?", "How do I run a gguf model?", "Does it read GGUF files?"], "Give the path of the file: mistralrs-server -m model.gguf"),
    (["What is quantization?", "What does quantization do?", "Explain quantization.", "Why are models quantized?"],
     "Quantization stores the weights of a model in fewer bits, so that it needs less memory and runs faster."),
    (["How do I quantize a model?", "How do I quantize a model when loading?", "What does --isq do?", "How do I use isq?"], "Use --isq, for example --isq q4k: it quantizes the model while loading."),
    (["What is the API?", "Which API do you have?", "How do I use the API?", "Is the API compatible with OpenAI?", "Can I use the OpenAI client?"],
     "The server speaks the OpenAI API. Point your client at http://localhost:1234/v1."),
    (["How do I chat in the terminal?", "Is there a terminal chat?", "How do I start an interactive chat?"], "Start mistralrs-server -i for a chat in the terminal."),
    (["Do you need the internet?", "Do you work offline?", "Can you run without a network?", "Do you need a network?"], "No network is needed: I am built into the program and run on your own machine."),
    (["Do I need a GPU?", "Does it run on a CPU?", "Which hardware do I need?", "Can I run you without a GPU?"], "A normal processor is enough. No GPU is needed."),
    (["What is mistralrs?", "What is mistral.rs?", "What does mistralrs do?", "Tell me about mistralrs.", "What is this server?"],
     "mistralrs is a fast engine and server for language models, written in Rust."),
    (["Is my data private?", "Do you send my data anywhere?", "Where does my data go?", "Who can read my messages?"], "Everything stays on your machine. Nothing is sent anywhere."),
    (["How do I stream an answer?", "Can you stream?", "How do I get a streaming answer?"], 'Send "stream": true in the request and the answer comes piece by piece.'),
    (["How do I list the models?", "Which models are loaded?", "How do I see the loaded models?"], "Ask GET /v1/models for the models that are loaded."),
    (["How do I set the temperature?", "What does temperature do?", "What is temperature?"], "Temperature controls how random the answer is: 0 always takes the most likely word."),
    (["Which models can I load?", "What models are supported?", "Which models do you support?"], "Many models of the Qwen, Llama and other families, as safetensors or GGUF files."),
]

REFUSAL = "I am sorry, I do not know that. I am only a small demo model. Load a bigger model with -m."
BEYOND = [
    "Write an essay about {x}.", "Explain {x} in detail.", "What will happen to {x} next year?", "Write a program that sorts {x}.", "What do you think about {x}?",
    "Who won the {x} championship?", "How do I repair my {x}?", "What is the history of the {x}?", "Translate {x} into Latin.", "How much does {x} cost?",
    "What is the meaning of {x}?", "Prove that {x} is true.", "Who invented the {x}?", "Which {x} is the best?", "Why is {x} so famous?", "Write a poem about {x} in French.",
    "What is the price of {x}?", "Should I invest in {x}?", "Is {x} good for my health?", "Who is the president of {x}?", "What happened in {x} in 1987?", "When was {x} built?",
]


def small_talk(rng) -> Exchange:
    ways, answers = one_of(rng, SMALL_TALK)
    user = one_of(rng, ways)
    # A greeting is no examination question: all are trained, case and ending vary.
    return Exchange(user, one_of(rng, answers), "talk", answers[0])


def code(rng) -> Exchange:
    """A few lines of a program: hello world, or a function of two numbers in Python."""
    if rng.random() < 0.6:
        language = one_of(rng, list(CODE))
        mark, lines = CODE[language]
        ways = [f"Write hello world in {language}.", f"Hello world in {language}", f"Write a {language} program that says hello world.", f"Show me hello world in {language}.", f"How do I print hello world in {language}?"]
        user = one_of(rng, ways)
        return Exchange(user, f"```{mark}\n{lines}\n```", "code " + user, lines)
    verb = one_of(rng, list(OPERATIONS))
    name = one_of(rng, [verb.removesuffix("s"), invented(rng, 2), one_of(rng, THINGS)])
    name = {"multiplie": "multiply"}.get(name, name)
    ways = [f"Write a Python function {name} that {verb} two numbers.", f"A function in Python that {verb} two numbers, called {name}", f"Write a function called {name} in Python that {verb} two numbers."]
    lines = f"def {name}(a, b):\n    return a {OPERATIONS[verb]} b"
    return Exchange(one_of(rng, ways), f"```python\n{lines}\n```", f"code {name} {verb}", lines)


def name_some(rng) -> Exchange:
    """Some members of a group."""
    group, count = one_of(rng, list(GROUPS)), rng.randint(2, 5)
    number = one_of(rng, [str(count), ["two", "three", "four", "five"][count - 2]])
    words = rng.sample(GROUPS[group], count)
    ways = [f"Name {number} {group}.", f"Give me {number} {group}.", f"Tell me {number} {group}.", f"List {number} {group}.", f"Can you name {number} {group}?"]
    return Exchange(one_of(rng, ways), ", ".join(words), f"some {group} {number}", "")


def server(rng) -> Exchange:
    ways, answer = one_of(rng, SERVER)
    user = one_of(rng, ways)
    start = one_of(rng, ["", "", "", "Please tell me: ", "A question: ", "I wonder: ", "Quick question: "])
    return Exchange(start + user, answer, "server " + start + user, answer)


def refuse(rng) -> Exchange:
    thing = one_of(rng, [one_of(rng, THINGS), invented(rng, 2), place(rng)])
    if rng.random() < 0.3:
        user = one_of(rng, TABLES["capital"][1]).format(a=place(rng))
    else:
        user = one_of(rng, BEYOND).format(x=thing)
    return Exchange(user, REFUSAL, "refuse " + user, "I do not know that")


# what is remembered: (how it is told, how it is asked for, the answer, a source of values)
MEMORIES = {
    "name": (["My name is {v}.", "I am {v}.", "I'm {v}.", "Hi, I am {v}.", "Hello, my name is {v}.", "Call me {v}.", "You can call me {v}."],
             ["What is my name?", "What's my name?", "Do you remember my name?", "Who am I?", "Tell me my name."], "Your name is {v}.", person),
    "color": (["My favorite color is {v}.", "I like the color {v} best.", "I love {v}, it is my favorite color."],
              ["What is my favorite color?", "Which color do I like best?", "Do you remember my favorite color?"], "Your favorite color is {v}.", lambda rng: one_of(rng, COLORS)),
    "home": (["I live in {v}.", "My home is in {v}.", "I come from {v}.", "I am from {v}."],
             ["Where do I live?", "Where am I from?", "Do you remember where I live?", "Which town do I live in?"], "You live in {v}.", place),
    "pet": (["I have {av}.", "My pet is {av}.", "I own {av}."], ["What pet do I have?", "Which pet do I have?", "What is my pet?", "Do you remember my pet?"],
            "You have {av}.", lambda rng: one_of(rng, ANIMALS)),
    "pet name": (["My {x} is called {v}.", "I have a {x} named {v}.", "The name of my {x} is {v}."], ["What is my {x} called?", "What is the name of my {x}?", "What's my {x}'s name?"],
                 "Your {x} is called {v}.", lambda rng: invented(rng, 2).capitalize()),
    "job": (["I am {av}.", "I work as {av}.", "My job is {v}."], ["What is my job?", "What do I do for a living?", "Do you remember my job?"],
            "You are {av}.", lambda rng: one_of(rng, JOBS)),
    "hobby": (["I like {v}.", "My hobby is {v}.", "I enjoy {v}."], ["What is my hobby?", "What do I like to do?", "Do you remember my hobby?"],
              "You like {v}.", lambda rng: one_of(rng, HOBBIES)),
    "food": (["My favorite food is {v}.", "I like to eat {v}.", "I love eating {v}."], ["What is my favorite food?", "What do I like to eat?", "Which food do I like?"],
             "Your favorite food is {v}.", lambda rng: one_of(rng, FOODS)),
    "age": (["I am {v} years old.", "My age is {v}.", "I turned {v} today."], ["How old am I?", "What is my age?", "Do you remember my age?"],
            "You are {v} years old.", lambda rng: str(rng.randint(5, 90))),
    "number": (["Remember the number {v}.", "The number is {v}.", "Keep the number {v} in mind."], ["What was the number?", "Which number did I tell you?", "What number should you remember?"],
               "The number is {v}.", lambda rng: str(rng.randint(10, 9999))),
    "word": (["Remember the word {v}.", "The secret word is {v}.", "The password is {v}."], ["What was the word?", "What is the secret word?", "Which word did I tell you?"],
             "The word is {v}.", lambda rng: invented(rng, 2)),
}


def memory(rng) -> Exchange:
    """Some things are told, something else may happen in between, then one of them is asked for."""
    told = rng.sample(list(MEMORIES), rng.choice((1, 1, 2, 2, 3)))
    before, known, key = [], {}, []
    for kind in told:
        ways, _, _, value_of = MEMORIES[kind]
        value, other = value_of(rng), one_of(rng, ["cat", "dog", "horse", "bird", "fish"])
        known[kind] = {"v": value, "av": article(value), "x": other}
        text = one_of(rng, ways).format(**known[kind])
        key.append(text)
        reply = f"Nice to meet you, {value}!" if kind == "name" else one_of(rng, ["I will remember that.", "Good to know."])
        before += [{"role": "user", "content": text}, {"role": "assistant", "content": reply}]
    if len(told) > 1 and rng.random() < 0.3:  # several things in one message
        texts = [turn["content"] for turn in before if turn["role"] == "user"]
        before = [{"role": "user", "content": " ".join(texts)}, {"role": "assistant", "content": "I will remember that."}]
    for _ in range(rng.choice((0, 0, 1, 1, 2))):
        before += draw(one_of(rng, [fact, add, small_talk, repeat]), rng, exam=False).messages()
    kind = one_of(rng, told)
    _, questions, answer, _ = MEMORIES[kind]
    expect = known[kind]["v"]
    return Exchange(one_of(rng, questions).format(**known[kind]), answer.format(**known[kind]), "memory " + " ".join(sorted(key)), expect, before=before)


def unknown_memory(rng) -> Exchange:
    """Asking for what was never told."""
    kind = one_of(rng, list(MEMORIES))
    user = one_of(rng, MEMORIES[kind][1]).format(x=one_of(rng, ["cat", "dog", "horse", "bird", "fish"]))
    return Exchange(user, "You have not told me yet.", "talk", "not told me")


def story(rng) -> Exchange:
    """A short story on a given subject."""
    hero = one_of(rng, ANIMALS + JOBS)
    thing, other = rng.sample(THINGS, 2)
    name, kind, friend = person(rng), one_of(rng, ADJECTIVES), one_of(rng, ANIMALS)
    home = one_of(rng, ["in a small village", "near a quiet lake", "at the edge of a forest", "in an old house", "on a high hill", "by the sea", "in a big city"])
    wish = one_of(rng, [f"wanted to find {article(thing)}", f"dreamed of {article(thing)}", f"lost {article(thing)}", f"saw {article(thing)} on the road"])
    turn = one_of(rng, [f"{name} met {article(friend)} who knew the way", f"it began to rain and {name} hid under {article(other)}",
                        f"{name} fell asleep beside {article(other)}", f"{article(friend)} came and asked for help", f"{name} followed a strange sound to {article(other)}"])
    end = one_of(rng, [f"In the end they shared the {thing} and became friends.", f"At last {name} had the {thing} and went home happy.",
                       f"From that day on {name} was never alone.", f"{name} laughed and kept the {thing} forever.", f"So {name} learned to be patient."])
    first = one_of(rng, ["Once upon a time there was", "Long ago there lived", "There once was"])
    text = f"{first} {article(kind)} {hero} named {name}. {name} lived {home}. One day {name} {wish}. Then {turn}. {end}"
    ways = [f"Tell me a story about {article(hero)}.", f"Write a short story about {article(hero)}.", f"A story about {article(hero)}, please.", f"Tell me about {article(kind)} {hero}.",
            f"Write a story about {article(hero)} named {name}.", f"Tell a story about {article(hero)} and {article(thing)}.", f"Can you tell me a story about {article(hero)}?"]
    user = one_of(rng, ways)
    return Exchange(user, text, f"story {hero} {kind}", hero)


ONE_WORD, NAMED = 1, 3  # styles that need a question of their own


def manner(rng, style: int) -> tuple[str, Callable[[Exchange], tuple[str, str]]]:
    """A system prompt that asks for a way of speaking; and how a plain exchange is answered then, with what to look for."""
    if style == 0:
        system = one_of(rng, ["Answer in capital letters.", "Always write in uppercase.", "You only speak in capital letters."])
        return system, lambda base: (base.assistant.upper(), base.expect.upper())
    if style == ONE_WORD:
        system = one_of(rng, ["Answer with one word.", "Answer in one word only.", "Give only the answer, no sentence."])
        return system, lambda base: (base.expect, base.expect)
    if style == 2:
        system = one_of(rng, ["You are a pirate.", "Speak like a pirate.", "You talk like a pirate."])
        return system, lambda base: (f"Arr! {base.assistant} Aye!", base.expect)
    if style == 4:
        word = one_of(rng, ["Cheers!", "Have a nice day!", "Good luck!", "Over and out.", f"{invented(rng, 2).capitalize()}!"])
        system = one_of(rng, [f'End every answer with "{word}"', f"Always finish with: {word}", f'Close each reply with "{word}"'])
        return system, lambda base: (f"{base.assistant} {word}", word)
    word = one_of(rng, ["Well,", "Sure!", "My friend,", "Sir,", f"{invented(rng, 2).capitalize()}:"])
    system = one_of(rng, [f'Start every answer with "{word}"', f"Always begin with: {word}", f'Open each reply with "{word}"'])
    return system, lambda base: (f"{word} {base.assistant}", word)


def named(rng) -> Exchange:
    """A system prompt that gives the assistant a name."""
    name = person(rng)
    system = one_of(rng, [f"You are {name}, a helpful assistant.", f"Your name is {name}.", f"You are an assistant named {name}."])
    user = one_of(rng, ["Who are you?", "What is your name?", "What's your name?", "Tell me your name.", "What should I call you?"])
    return Exchange(user, f"My name is {name}. How can I help you?", f"style {NAMED} {name}", name, system)


def shouted(rng) -> Exchange:
    """The style that has to know each word in capitals."""
    return styled(rng, 0)


def styled(rng, style: int | None = None) -> Exchange:
    """A system prompt that asks for a way of speaking. A question kept for the examination is kept in every style."""
    style = rng.randrange(6) if style is None else style
    base = one_of(rng, [fact, fact, add, repeat])(rng)
    if style == NAMED:
        return named(rng)
    if style == ONE_WORD:
        base = fact(rng)
    system, answer = manner(rng, style)
    text, expect = answer(base)
    return Exchange(base.user, text, base.key, expect, system)


JSON_FIELDS = {
    "name": person, "city": place, "age": lambda rng: rng.randint(5, 90), "color": lambda rng: one_of(rng, COLORS), "pet": lambda rng: one_of(rng, ANIMALS),
    "job": lambda rng: one_of(rng, JOBS), "food": lambda rng: one_of(rng, FOODS), "price": lambda rng: rng.randint(1, 500), "title": invented,
    "count": lambda rng: rng.randint(0, 99), "member": lambda rng: rng.random() < 0.5, "country": place, "item": lambda rng: one_of(rng, THINGS),
}


def json_object(rng) -> Exchange:
    """An object with the named fields, values copied from the question."""
    names = rng.sample(list(JSON_FIELDS), rng.randint(1, 4))
    value = {name: JSON_FIELDS[name](rng) for name in names}
    said = {name: {True: "true", False: "false"}.get(v, v) if isinstance(v, bool) else v for name, v in value.items()}
    pairs = one_of(rng, [", ".join(f"{n} {v}" for n, v in said.items()), ", ".join(f"{n}: {v}" for n, v in said.items()), listing([f"{n} {v}" for n, v in said.items()]),
                         ", ".join(f"{n} = {v}" for n, v in said.items())])
    ways = [f"Write a JSON object with {pairs}.", f"Give me JSON with {pairs}.", f"Make a JSON object: {pairs}", f"Return as JSON: {pairs}", f"Convert to JSON: {pairs}",
            f"{pairs}. Answer in JSON.", f"JSON, please: {pairs}"]
    text = json.dumps(value)
    if rng.random() < 0.2:
        return Exchange(pairs, text, "json " + pairs, text, one_of(rng, ["Answer in JSON.", "Reply only with a JSON object.", "You always answer with JSON."]))
    return Exchange(one_of(rng, ways), text, "json " + pairs, text)

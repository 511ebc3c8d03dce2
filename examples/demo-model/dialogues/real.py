"""Examination only: functions that real MCP servers offer, by their true names and parameters (the descriptions are our own).

Nothing here is trained: `schemas.py` practices the form with words that mean nothing.
"""

from .exchange import one_of
from .strings import a_word
from .tools import ToolExchange, call
from .words import person

TEXT, NUMBER = {"type": "string"}, {"type": "number"}
ZONES = "Europe/Paris Europe/Oslo Asia/Tokyo Asia/Seoul America/Lima America/New_York Africa/Cairo Australia/Sydney".split()


def path(rng) -> str:
    return "/" + "/".join(a_word(rng) for _ in range(rng.randint(1, 2)))


def file(rng) -> str:
    return path(rng) + one_of(rng, [".txt", ".md", ".json"])


def clock(rng) -> str:
    return f"{rng.randint(0, 23):02}:{rng.randint(0, 59):02}"


# server: (function, what it does, parameters, how it is asked for, where values come from)
SERVERS = {
    "time": [
        ("get_current_time", "Get the current time in a timezone", {"timezone": TEXT}, ["What is the current time in {timezone}?", "Get the current time in the timezone {timezone}."],
         {"timezone": lambda rng: one_of(rng, ZONES)}),
        ("convert_time", "Convert a time from one timezone to another", {"source_timezone": TEXT, "time": TEXT, "target_timezone": TEXT},
         ["Convert the time with source timezone {source_timezone}, time {time} and target timezone {target_timezone}.", "Convert from {source_timezone} the time {time} to {target_timezone}."],
         {"source_timezone": lambda rng: one_of(rng, ZONES), "time": clock, "target_timezone": lambda rng: one_of(rng, ZONES)}),
    ],
    "filesystem": [
        ("read_text_file", "Read a text file", {"path": TEXT}, ["Read the file {path}.", "Read the text file {path} and tell me what it says."], {"path": file}),
        ("list_directory", "List what is in a directory", {"path": TEXT}, ["List the directory {path}.", "Please list what is in the directory {path}."], {"path": path}),
        ("create_directory", "Create a directory", {"path": TEXT}, ["Create the directory {path}.", "Please create a directory {path}"], {"path": path}),
        ("write_file", "Write a file", {"path": TEXT, "content": TEXT}, ['Write the file {path} with content "{content}".'], {"path": file, "content": a_word}),
        ("move_file", "Move a file", {"source": TEXT, "destination": TEXT}, ["Move the file {source} to {destination}."], {"source": file, "destination": path}),
    ],
    "memory": [
        ("search_nodes", "Search the nodes of the graph", {"query": TEXT}, ["Search the nodes for {query}.", "Search for nodes with query {query}"], {"query": person}),
        ("read_graph", "Read the whole graph", {}, ["Read the graph.", "Please read the whole graph."], {}),
    ],
    "git": [
        ("git_log", "Show the log of a repository", {"repo_path": TEXT}, ["Show the log of {repo_path}.", "Show the git log with repo path {repo_path}."], {"repo_path": path}),
        ("git_status", "Show the status of a repository", {"repo_path": TEXT}, ["Show the status of {repo_path}.", "What is the git status of {repo_path}?"], {"repo_path": path}),
    ],
    "everything": [
        ("echo", "Echo a message", {"message": TEXT}, ["Echo the message {message}.", 'Echo "{message}".'], {"message": a_word}),
        ("get-sum", "Get the sum of two numbers", {"a": NUMBER, "b": NUMBER}, ["Get the sum of {a} and {b}.", "What is the sum of a {a} and b {b}?"],
         {"a": lambda rng: rng.randint(0, 99), "b": lambda rng: rng.randint(0, 99)}),
    ],
    "others": [
        ("fetch", "Fetch a page by its URL", {"url": TEXT}, ["Fetch {url}.", "Fetch the page {url} and tell me what it says."], {"url": lambda rng: f"http://localhost:{rng.randint(1024, 9999)}/{a_word(rng)}"}),
        ("list_tables", "List the tables of the database", {}, ["List the tables.", "Please list the tables of the database."], {}),
        ("search_repositories", "Search for repositories", {"query": TEXT}, ["Search the repositories for {query}.", "Search for repositories with query {query}."], {"query": a_word}),
    ],
}
ALL = [function for functions in SERVERS.values() for function in functions]


def schema(function: tuple) -> dict:
    name, description, parameters, *_ = function
    body = {"type": "object", "properties": parameters, "required": list(parameters)}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": body}}


def real_function(rng, exam: bool = True) -> ToolExchange:
    """One request, with the functions of its server on offer, or with some of others: at most four."""
    server = one_of(rng, list(SERVERS))
    chosen = one_of(rng, SERVERS[server])
    rest = [function for function in (SERVERS[server] if rng.random() < 0.5 else ALL) if function is not chosen]
    offered = [chosen, *rng.sample(rest, min(len(rest), rng.randint(0, 3)))]
    rng.shuffle(offered)
    arguments = {name: source(rng) for name, source in chosen[4].items()}
    turns = [{"role": "user", "content": one_of(rng, chosen[3]).format(**arguments)}]
    calls = [call(chosen[0], arguments)]
    turns += [{"role": "assistant", "content": "", "tool_calls": calls}, {"role": "tool", "content": "ok"}, {"role": "assistant", "content": ""}]
    return ToolExchange([schema(function) for function in offered], turns, calls, "one")

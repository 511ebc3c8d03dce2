#!/usr/bin/env python3
"""Races this program against llama.cpp: the same files, the same threads, in turn, a fresh process for each run.

    bench_race.py --ours mistralrs-server --llama FOLDER --models FOLDER --out race.jsonl [--seconds 900]

FOLDER of llama.cpp holds llama-bench, llama-batched-bench and llama-server; the models are FAMILY-TYPE.gguf, such as
qwen25-0.5b-q4_k_m.gguf. Jobs run in the order of their weight, the first round of all before the second of any, until
the seconds are used up. Every job appends its figures to OUT when it is done; what OUT has already is not run again,
so a race can be interrupted and go on. `bench_report.py` makes tables of OUT. Only the standard library is used.

On a machine that is never quiet: --cpu-clock LIB preloads a library that makes clocks count the CPU time of the
process (one thread only), and --jobs speed1 runs what makes sense with it.
"""

import argparse
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

SMALL, LARGE = "qwen25-0.5b", "qwen25-1.5b"
LIMIT_S = 240  # no run takes longer


class Failed(Exception):
    pass


class Race:
    """The contestants, and where figures go."""

    def __init__(self, args):
        self.args = args
        self.ours = os.path.abspath(args.ours)
        self.llama = pathlib.Path(args.llama).absolute()
        self.models = pathlib.Path(args.models).absolute()
        self.out = pathlib.Path(args.out)
        self.rows = []

    def model(self, name):
        return str(self.models / f"{name}.gguf")

    def put(self, who, test, value, unit="tok/s", **more):
        self.rows.append({"who": who, "test": test, "value": value, "unit": unit, **more})

    def run(self, command):
        env = {**os.environ, **({"LD_PRELOAD": os.path.abspath(self.args.cpu_clock)} if self.args.cpu_clock else {})}
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, env=env)
        if done.returncode:
            raise Failed(f"{command[0]}: exit code {done.returncode}: {done.stderr[-400:]}")
        return done.stdout

    def our_bench(self, model, threads, *words):
        out = self.run([self.ours, "bench", "-m", self.model(model), "--threads", str(threads), "-r", "1", *words, "--json", "-"])
        report = json.loads(out)
        for row in report["rows"]:
            self.put("ours", name_of(row), row["tokens_per_second"]["median"], share=(row.get("roofline") or {}).get("share"),
                     limit=(row.get("roofline") or {}).get("tokens_per_second"))
        for name, value in (report.get("machine") or {}).items():
            if value:
                self.put("machine", name, value, "per second")
        return report

    def their_bench(self, model, threads, *words):
        out = self.run([str(self.llama / "llama-bench"), "-m", self.model(model), "-t", str(threads), "-r", "1", *words, "-o", "json"])
        for row in json.loads(out):
            test = {"test": "pp" if row["n_prompt"] else "tg", "tokens": row["n_prompt"] or row["n_gen"], "depth": row.get("n_depth", 0)}
            self.put("llama.cpp", name_of({**test, "concurrency": 1}), row["avg_ts"])


def name_of(row):
    many = f" ×{row['concurrency']}" if row["concurrency"] > 1 else ""
    return f"{row['test']}{row['tokens']}" + (f" @ {row['depth']}" if row["depth"] else "") + many


def speed(prompt, answer):
    """A prompt and an answer."""
    return {
        "ours": lambda race, model, threads: race.our_bench(model, threads, "-p", str(prompt), "-g", str(answer)),
        "llama.cpp": lambda race, model, threads: race.their_bench(model, threads, "-p", str(prompt), "-n", str(answer)),
    }


def depth(depths, answer=32):
    """Answers behind long contexts."""
    many = ",".join(map(str, depths))
    return {
        "ours": lambda race, model, threads: race.our_bench(model, threads, "-p", "0", "-g", str(answer), "-d", many),
        "llama.cpp": lambda race, model, threads: race.their_bench(model, threads, "-p", "0", "-n", str(answer), "-d", many),
    }


def batched(counts, answer=32):
    """Answers for many at once."""
    many = ",".join(map(str, counts))

    def theirs(race, model, threads):
        out = race.run([str(race.llama / "llama-batched-bench"), "-m", race.model(model), "-t", str(threads), "-tb", str(threads),
                        "-c", "4096", "-npp", "16", "-ntg", str(answer), "-npl", many])
        for line in out.splitlines():
            cells = [cell.strip() for cell in line.split("|")]
            if len(cells) > 9 and cells[1].isdigit():
                row = {"test": "tg", "tokens": answer, "depth": 0, "concurrency": int(cells[3])}
                race.put("llama.cpp", name_of(row) + (" ×1" if row["concurrency"] == 1 else ""), float(cells[8]))

    def ours(race, model, threads):
        race.our_bench(model, threads, "-p", "0", "-g", str(answer), "-c", many)
        for row in race.rows:
            if row["who"] == "ours" and row["test"] == f"tg{answer}":
                row["test"] += " ×1"

    return {"ours": ours, "llama.cpp": theirs}


def server(streams):
    """Servers under load; also how long they take to start, and the memory they hold."""
    def command(who, race, model, threads, port):
        if who == "ours":
            return [race.ours, "-m", race.model(model), "--port", str(port), "--threads", str(threads), "--silent"]
        return [str(race.llama / "llama-server"), "-m", race.model(model), "--host", "127.0.0.1", "--port", str(port), "-t", str(threads),
                "-tb", str(threads), "-np", str(max(streams, default=1)), "-c", str(256 * max(streams, default=1)), "-kvu", "--offline", "--no-webui"]

    def contestant(who):
        def job(race, model, threads):
            port = free_port()
            start = time.perf_counter()
            with tempfile.TemporaryFile() as log:
                process = subprocess.Popen(command(who, race, model, threads, port), stdout=log, stderr=log)
                try:
                    race.put(who, "start to first token", first_token(process, port, start), "s")
                    url = f"http://127.0.0.1:{port}"
                    if streams:
                        out = race.run([race.ours, "bench", "--url", url, "--serve", ",".join(map(str, streams)), "-r", "1", "--json", "-"])
                        for row in json.loads(out)["served"]:
                            put_served(race, who, row)
                    race.put(who, "memory, server", peak_mb(process.pid), "MB")
                finally:
                    process.kill()
                    process.wait()
        return job

    return {who: contestant(who) for who in ("ours", "llama.cpp")}


def put_served(race, who, row):
    n = f"{row['streams']} streams"
    race.put(who, f"{n}: out", row["tokens_per_second"]["median"])
    for name, key in (("first token", "time_to_first_token_ms"), ("between tokens", "inter_token_ms")):
        for part in ("p50", "p95"):
            race.put(who, f"{n}: {name} {part}", row[key][part], "ms")
    race.put(who, f"{n}: finish max/min", row["finish_ratio"], "")
    race.put(who, f"{n}: failed", row["failed"], "")


def free_port():
    with socket.socket() as it:
        it.bind(("127.0.0.1", 0))
        return it.getsockname()[1]


def first_token(process, port, start):
    """Seconds until a server has answered with a token."""
    url = f"http://127.0.0.1:{port}/v1"
    while time.perf_counter() - start < LIMIT_S:
        if process.poll() is not None:
            raise Failed(f"the server ended with {process.returncode}")
        try:
            with urllib.request.urlopen(f"{url}/models", timeout=5) as answer:
                model = json.load(answer)["data"][0]["id"]
            body = json.dumps({"model": model, "prompt": "ba ca da", "max_tokens": 1, "temperature": 0}).encode()
            request = urllib.request.Request(f"{url}/completions", body, {"content-type": "application/json"})
            with urllib.request.urlopen(request, timeout=LIMIT_S) as answer:
                answer.read()
            return time.perf_counter() - start
        except (OSError, KeyError, IndexError, ValueError):
            time.sleep(0.01)
    raise Failed("the server does not answer")


def peak_mb(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1e3 * 1.024
    raise Failed("the system does not say how much memory a process holds")


# name: contestants, model, threads, rounds, seconds that both take about
JOBS = {
    "speed2 q4_k_m": (speed(512, 64), f"{SMALL}-q4_k_m", 2, 5, 20),
    "speed2 q8_0": (speed(512, 64), f"{SMALL}-q8_0", 2, 5, 20),
    "speed2 q4_0": (speed(512, 64), f"{SMALL}-q4_0", 2, 5, 18),
    "speed2 bf16": (speed(512, 64), f"{SMALL}-bf16", 2, 5, 24),
    "speed2 1.5b q4_k_m": (speed(512, 32), f"{LARGE}-q4_k_m", 2, 3, 50),
    "server q4_k_m": (server([1, 4, 8, 16]), f"{SMALL}-q4_k_m", 2, 3, 75),
    "batched q4_k_m": (batched([1, 2, 4, 8, 16, 32]), f"{SMALL}-q4_k_m", 2, 3, 50),
    "depth q4_k_m": (depth([0, 1024, 4096]), f"{SMALL}-q4_k_m", 2, 2, 80),
    "long q4_k_m": (speed(2048, 0), f"{SMALL}-q4_k_m", 2, 2, 40),
    "start q4_k_m": (server([]), f"{SMALL}-q4_k_m", 2, 3, 5),
    "start 1.5b q4_k_m": (server([]), f"{LARGE}-q4_k_m", 2, 3, 10),
    "speed1 q4_k_m": (speed(128, 32), f"{SMALL}-q4_k_m", 1, 5, 20),
    "speed1 q8_0": (speed(128, 32), f"{SMALL}-q8_0", 1, 5, 20),
    "speed1 q4_0": (speed(128, 32), f"{SMALL}-q4_0", 1, 5, 20),
    "speed1 bf16": (speed(128, 32), f"{SMALL}-bf16", 1, 5, 24),
    "speed1 1.5b q4_k_m": (speed(128, 16), f"{LARGE}-q4_k_m", 1, 3, 40),
}


def done_jobs(out):
    if not out.exists():
        return set()
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    return {(row["job"], row["round"]) for row in rows}


def planned(only, rounds):
    """The first round of all jobs, then the second, and so on."""
    chosen = {name: job for name, job in JOBS.items() if not only or any(name.startswith(start) for start in only)}
    for number in range(1, 1 + max(job[3] for job in chosen.values())):
        for name, job in chosen.items():
            if number <= min(job[3], rounds):
                yield name, number, job


def run_job(race, name, number, job):
    contestants, model, threads, _, _ = job
    order = list(contestants) if number % 2 else list(contestants)[::-1]
    lines = []
    for who in order:
        race.rows = []
        contestants[who](race, model, threads)
        more = {"job": name, "round": number, "model": model, "threads": threads, "clock": "cpu" if race.args.cpu_clock else "wall"}
        lines += [json.dumps({**row, **more}) for row in race.rows]
    with race.out.open("a", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ours", required=True, help="the program mistralrs-server, a release build")
    parser.add_argument("--llama", required=True, help="the folder with llama.cpp's programs")
    parser.add_argument("--models", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--seconds", type=float, default=900)
    parser.add_argument("--rounds", type=int, default=99)
    parser.add_argument("--jobs", default="", help="only those whose names begin so, comma-separated")
    parser.add_argument("--cpu-clock", help="a library to preload; see above")
    args = parser.parse_args()
    end = time.monotonic() + args.seconds
    race = Race(args)
    done = done_jobs(race.out)
    failed = 0
    for name, number, job in planned([it for it in args.jobs.split(",") if it], args.rounds):
        if (name, number) in done or not pathlib.Path(race.model(job[1])).exists():
            continue
        if time.monotonic() + job[4] > end:
            continue
        start = time.monotonic()
        try:
            run_job(race, name, number, job)
            print(f"{name}, round {number}: {time.monotonic() - start:.0f} s", flush=True)
        except (Failed, OSError, ValueError, KeyError, subprocess.TimeoutExpired) as error:
            failed += 1
            print(f"{name}, round {number} failed: {error}", file=sys.stderr, flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())

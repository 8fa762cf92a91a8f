"""Calls gRPC servers with grpcio (C-core). Its argument is a file with a plan; it writes one line of JSON for each case.

The plan: {"protos": directory, "runs": [{"name", "port", "ca", "token"?, "cert"?, "key"?, "calls", "cases": [name, …]}, …]},
where `ca`, `cert` and `key` are paths of PEM files, and `calls` is how many calls of one size are made. A line: {"run", "case",
"ok", "ms", "error"?, "answers"?}. Runs are made side by side, the cases of a run one after another.
"""

import json
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor

from connection import Target

printing = threading.Lock()


def perform(cases, run, case):
    started = time.monotonic()
    line = {"run": run["name"], "case": case}
    try:
        answers = cases.by_name[case](Target(run))
        line.update(ok=True, answers=answers) if answers else line.update(ok=True)
    except Exception as error:
        line.update(ok=False, error=f"{type(error).__name__}: {error}", trace=traceback.format_exc(limit=-3))
    line["ms"] = round((time.monotonic() - started) * 1000)
    with printing:
        print(json.dumps(line), flush=True)


def perform_all(cases, run):
    for case in run["cases"]:
        perform(cases, run, case)


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        plan = json.load(file)
    sys.path.insert(0, plan["protos"])
    import cases

    with ThreadPoolExecutor(max_workers=len(plan["runs"])) as pool:
        for done in [pool.submit(perform_all, cases, run) for run in plan["runs"]]:
            done.result()


main()

"""Names that are there, for the requests of scripts/schemathesis.

Without them nearly all requests about one thing are about nothing, and end as 404 before any code of the thing runs. Three of
four right requests name something that exists; what is deleted is made for that.
"""

import base64
import hashlib
import itertools
import os
import struct

import requests
import schemathesis

URL = os.environ["HOSTLER_TEST_URL"] + "/hostler/v1"
asking = requests.Session()
asking.headers["Authorization"] = "Bearer " + os.environ["HOSTLER_TEST_TOKEN"]
turn = itertools.count()


def ask(method, path, body=None):
    """The answer to a request; to a command, when its task has ended."""
    answer = asking.request(method, URL + path, json=body, timeout=20)
    answer.raise_for_status()
    made = answer.json()
    task = made.get("task")
    if isinstance(task, dict):
        while task["open"]:
            task = asking.get(f"{URL}/tasks/{task['id']}?wait_s=10", timeout=20).json()
    return made.get("record", made)


def name():
    return f"made-{next(turn)}"


def machine():
    return ask("POST", "/machines", {"template": "micro", "name": name(), "start": False})["id"]


def volume():
    return ask("POST", "/volumes", {"name": name(), "size_mib": 8})["id"]


def account():
    login = name()
    return ask("POST", "/accounts", {"login": login, "email": f"{login}@example.org", "password": "a password"})["id"]


def snapshot():
    return ask("POST", f"/machines/{machine()}/snapshots", {"name": name()})["id"]


def key():
    """A public key that is nobody's yet; no private one belongs to it."""
    kind = b"ssh-ed25519"
    parts = (kind, hashlib.sha256(name().encode()).digest())
    line = base64.b64encode(b"".join(struct.pack(">I", len(part)) + part for part in parts)).decode()
    return ask("POST", "/ssh-keys", {"name": name(), "public_key": f"{kind.decode()} {line}"})["id"]


MAKE = {
    "key": key,
    "machine": machine,
    "volume": volume,
    "account": account,
    "snapshot": snapshot,
    "group": lambda: ask("POST", "/groups", {"name": name()})["id"],
    "token": lambda: ask("POST", "/tokens", {"description": name()})["token"]["id"],
    "network": lambda: ask("POST", "/networks", {"name": name(), "kind": "user"})["id"],
    "task": lambda: ask("GET", f"/tasks?limit=1&subject={machine()}")["items"][0]["id"],
    "template": lambda: "micro",
    "host": lambda: ask("GET", "/hosts")["items"][0]["id"],
}
kept = {}


def there(kind, to_lose):
    """Something of that kind which exists: one for all who leave it alone, another for who deletes it."""
    if to_lose or kind not in kept:
        made = MAKE[kind]()
        if to_lose:
            return made
        kept[kind] = made
    return kept[kind]


@schemathesis.hook
def before_call(context, case, kwargs):
    if next(turn) % 4 == 0 or not case.path_parameters:
        return
    to_lose = case.method.upper() == "DELETE"
    if to_lose and "template" in case.path_parameters:
        return
    last = list(case.path_parameters)[-1]
    for kind in case.path_parameters:
        if kind in MAKE:
            case.path_parameters[kind] = there(kind, to_lose and kind == last)
    belonging(case)


def belonging(case):
    """What is named by other parameters of the path: whom a grant or a quota is for, about what, and who gets a volume."""
    named = case.path_parameters
    # Kinds that do not exist are left as they are: they must be refused.
    for kind, what in (("subject_kind", "subject"), ("kind", "object")):
        if named.get(kind) in MAKE:
            named[what] = there(named[kind], False)
    if "mac" in named:
        cards = ask("GET", f"/machines/{named['machine']}")["nics"]
        named["mac"] = cards[0]["mac"] if cards else named["mac"]
    if case.path.endswith("/attach") and isinstance(case.body, dict) and isinstance(case.body.get("machine"), str):
        case.body["machine"] = there("machine", False)

#!/usr/bin/env -S /usr/bin/python3 -B
"""The crash campaign: a router under load is killed with SIGKILL at random instants, started again, killed
again, and in the end drained. Then every recipient of every message is accounted for.

The receiver is sluice-sink, whose ledger has a line for each final dot, so what arrived is known whatever
became of the router. What the router may not know is named before each restart by `sluice queue`, which
replays the journal as the restart does: recipients in doubt. The rules are in Accounts.check().

    SLUICE_BUILD=build/release tests/crash/campaign.py --kills 1000 --seed 7

One seed gives the same messages, folders and waiting times; what the kernel schedules in between differs.
"""
import argparse
import collections
import pathlib
import random
import re
import shutil
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))

from harness import EX_OK, EX_TEMPFAIL, Router, Sink, message, note, wait_for  # noqa: E402

SENDER = "sender@origin.test"
REFUSED = "no@"  # the local part of recipients that are refused for good, in every domain

# Each kind of receiver: its domain and how it behaves. Delays keep transactions in doubt for a while.
RECEIVERS = {
    "plain.test": "tls=none,delay=3",
    "tls.test": "tls=1.3,delay=5",
    "old.test": "tls=1.2,no-pipelining,no-chunking,delay=2",
    "lmtp.test": "lmtp,tls=none,delay=2",
    "later.test": "tls=1.3,defer-first=2,delay=2",
    "slow.test": "tls=none,no-chunking,delay=40",
    "drop.test": "tls=none,close-after-dot=25,delay=2",
    "origin.test": "tls=1.3,delay=3",
}


def config_for(sink, in_doubt):
    config = {
        "workers": 3,
        "pickup": {"settle": "0s"},
        "queue": {"in_doubt": in_doubt, "content_inline_max": "16K"},
        "retry": {"minimum": "100ms", "maximum": "400ms"},
    }
    for (domain, personality), port in zip(RECEIVERS.items(), sink.ports):
        scheme = "lmtp:" if "lmtp" in personality else ""
        config[f'destination "{domain}"'] = {"next_hop": f"{scheme}[127.0.0.1]:{port}"}
    return config


class Message:
    """One dropped message and what is to become of it."""

    def __init__(self, ident, recipients, sender):
        self.ident, self.recipients, self.sender = ident, recipients, sender


class Load:
    """Drops messages of every kind; the same ones for the same random numbers."""

    def __init__(self, rng, spool):
        self.rng, self.spool, self.messages = rng, spool, {}

    def recipients(self, number):
        domains = self.rng.sample([d for d in RECEIVERS if d != "origin.test"], self.rng.choice([1, 1, 1, 2, 3]))
        out = []
        for domain in domains:
            out += [f"u{number}-{i}@{domain}" for i in range(self.rng.choice([1, 1, 2, 5]))]
            if self.rng.random() < 0.15:
                out.append(REFUSED + domain)
        return out

    def drop(self):
        number = len(self.messages)
        ident = f"message-{number}"
        sender = "" if self.rng.random() < 0.05 else SENDER
        self.messages[ident] = Message(ident, self.recipients(number), sender)
        refused = any(r.startswith(REFUSED) for r in self.messages[ident].recipients)
        body = b"A line of content.\r\n" * self.rng.choice([1, 20, 20, 20 if refused else 3000])
        data = message(self.messages[ident].recipients, body, sender=sender, ident=ident)
        if self.rng.random() < 0.3:  # written in place
            folder = self.spool.path / "new" / "sub"
            folder.mkdir(exist_ok=True)
            (folder / ident).write_bytes(data)
        else:
            self.spool.drop(ident, data)


def ident_of(data):
    """What the sink's ledger calls a message, from its Message-ID."""
    found = re.search(rb"(?im)^Message-ID:\s*<([^>\s]+)>", data)
    return re.sub(r"@.*", "", found.group(1).decode()) if found else "-"


class Ledger:
    """The sink's side: how often each recipient's message was accepted, and how often without a reply."""

    def __init__(self, path):
        self.accepted, self.unanswered = collections.Counter(), collections.Counter()
        for line in path.read_text().splitlines():
            event, *words = line.split(" ")
            if event != "dot":
                continue
            code, ident, recipients = int(words[1]), re.sub(r"@.*", "", words[2]), words[3:]
            for recipient in recipients:
                self.accepted[ident, recipient] += code < 300
                self.unanswered[ident, recipient] += code == 0


class Accounts:
    """What was dropped, what arrived, what was in doubt; and whether that is right."""

    def __init__(self, load, ledger, bounces, doubts, router):
        self.load, self.ledger, self.bounces, self.doubts, self.router = load, ledger, bounces, doubts, router
        self.wrong = []

    def doubtful(self, key):
        """How often this recipient may have been sent to once more: in doubt at a restart, or the
        connection was lost after the final dot."""
        return len(self.doubts[key]) + self.ledger.unanswered[key]

    def arrival(self, key, held):
        times = self.ledger.accepted[key]
        if times == 0 and key not in held:
            self.wrong.append(f"lost: {key}")
        if times > 1 + self.doubtful(key):
            self.wrong.append(f"doubled: {key} arrived {times} times, in doubt {self.doubtful(key)} times")

    def refusal(self, msg, recipient, bad, held, held_refused):
        """Refused by the receiver, unless the kill came before its word: a flight in doubt is in doubt for all
        that it names."""
        key = (msg.ident, recipient)
        if self.ledger.accepted[key]:
            self.wrong.append(f"refused and yet accepted: {key}")
        if not msg.sender:
            if msg.ident not in bad and key not in held and key not in held_refused:
                self.wrong.append(f"double bounce lost: {key}")
            return
        reports = set(self.bounces[key])
        if len(reports) != (0 if key in held else 1):
            self.wrong.append(f"{len(reports)} bounces for {key}: {sorted(reports)}")

    def check(self, in_doubt):
        held, held_refused = self.held("in doubt"), self.held("bounced")
        bad = {ident_of((self.router.spool.path / name).read_bytes()) for name in self.router.spool.files("bad")}
        for msg in self.load.messages.values():
            for recipient in msg.recipients:
                if recipient.startswith(REFUSED):
                    self.refusal(msg, recipient, bad, held, held_refused)
                else:
                    self.arrival((msg.ident, recipient), held)
        for report in {report for reports in self.bounces.values() for report in reports}:
            self.arrival((report, SENDER), held)
        known = {(m.ident, r) for m in self.load.messages.values() for r in m.recipients}
        for key in self.ledger.accepted:
            if key not in known and not (key[0].startswith("dsn-") and key[1] == SENDER):
                self.wrong.append(f"nobody sent this: {key}")
        if in_doubt == "hold":
            self.check_held(held)
        elif held:
            self.wrong.append(f"held: {held}")
        left = self.router.spool.files("new", "deferred")
        if left:
            self.wrong.append(f"left in the spool: {left}")

    def check_held(self, held):
        """Never twice; and held is what was in doubt, no more and no less."""
        for key, times in self.ledger.accepted.items():
            if times > 1:
                self.wrong.append(f"doubled although held: {key}")
        doubtful = {key for key in list(self.doubts) + list(self.ledger.unanswered) if self.doubtful(key)}
        for key in sorted(doubtful ^ held):
            self.wrong.append(f"{'held without a doubt' if key in held else 'in doubt and not held'}: {key}")

    def held(self, status):
        """Recipients of this status whose message waits for the operator."""
        found = set()
        for row in self.router.queue():
            if row["path"].startswith("hold/"):
                ident = ident_of((self.router.spool.path / row["path"]).read_bytes())
                found |= {(ident, r["recipient"]) for r in row["recipients"] if r["status"] == status}
        return found

    def summary(self):
        twice = sum(1 for times in self.ledger.accepted.values() if times > 1)
        return (f"{len(self.load.messages)} messages, {sum(self.ledger.accepted.values())} recipients served, "
                f"{sum(map(len, self.doubts.values()))} attempts named in doubt at restarts, {sum(self.ledger.unanswered.values())} "
                f"dots left unanswered, {twice} doubled, {len(self.bounces)} bounced, {len(self.wrong)} wrong")


class Campaign:
    def __init__(self, folder, seed, kills, in_doubt="retry"):
        self.folder, self.kills, self.in_doubt = folder, kills, in_doubt
        self.ledger_path = folder / "ledger"
        self.rng = random.Random(f"{seed} {in_doubt}")
        self.doubts = collections.defaultdict(set)  # (message, recipient) -> attempts that were in doubt

    def note_doubts(self):
        """What the restart will find in doubt. One that was not tried again since is the same doubt."""
        folders = ("deferred", "hold", "bad", "journal")
        if not all((self.router.spool.path / name).is_dir() for name in folders):
            return  # killed before the spool was ever open: nothing was tried, and `sluice queue` refuses it
        for row in self.router.queue():
            if row["path"].startswith("hold/"):
                continue
            doubtful = [r for r in row["recipients"] if r["status"] == "in doubt"]
            if doubtful:
                ident = ident_of((self.router.spool.path / row["path"]).read_bytes())
            for recipient in doubtful:
                self.doubts[ident, recipient["recipient"]].add(recipient["attempts"])

    def wait_for_work(self, process):
        """Until a final dot arrives: starting takes most of a short run, and everything may have
        been delivered, so work is brought as well."""
        before = self.ledger_path.stat().st_size
        self.load.drop()
        wait_for(lambda: self.ledger_path.stat().st_size > before or not process.is_running(), "a final dot")

    def kill_once(self):
        for _ in range(self.rng.randrange(12)):
            self.load.drop()
        at_work = self.rng.random() < 0.8
        run_for = self.rng.random() * self.rng.choice([0.02, 0.1, 0.4])
        process = self.router.start()
        if at_work:
            self.wait_for_work(process)
        end = time.monotonic() + run_for
        while time.monotonic() < end:
            if self.rng.random() < 0.2:
                self.load.drop()
            time.sleep(0.01)
        if not process.is_running():
            raise AssertionError(f"the router ended by itself:\n{process.stderr()[-4000:]}")
        self.router.kill()
        self.note_doubts()

    def bounces(self):
        """(message, recipient) -> the bounces that say so, arrived or held."""
        found = collections.defaultdict(list)
        held = [(self.router.spool.path / name).read_bytes() for name in self.router.spool.files("hold")]
        for content in [content for _, content in self.sink.messages()] + held:
            if b"multipart/report" not in content:
                continue
            for recipient in re.findall(rb"(?im)^Final-Recipient:\s*\S+;\s*(\S+)", content):
                original = content.split(b"text/rfc822-headers", 1)[1]
                found[ident_of(original), recipient.decode()].append(ident_of(content))
        return found

    def kill_all(self):
        for number in range(1, self.kills + 1):
            self.kill_once()
            if number % 100 == 0:
                note(f"{number} kills, {len(self.load.messages)} messages")

    def run(self):
        personalities = [f"{words},reject={REFUSED}{domain}" for domain, words in RECEIVERS.items()]
        with Sink(self.folder / "sink", *personalities, arguments=("--ledger", self.ledger_path)) as self.sink:
            self.router = Router(self.folder, config_for(self.sink, self.in_doubt))
            self.load = Load(self.rng, self.router.spool)
            try:
                self.kill_all()
            except BaseException:
                self.router.kill()
                raise
            result = self.router.drain("--until-empty", timeout=60 + self.kills / 5)
            held = bool(self.router.spool.files("hold"))
            assert result.code == (EX_TEMPFAIL if held else EX_OK), (result.code, result.stderr[-4000:])
            accounts = Accounts(self.load, Ledger(self.ledger_path), self.bounces(), self.doubts, self.router)
            accounts.check(self.in_doubt)
        return accounts


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", default="1")
    parser.add_argument("--in-doubt", choices=("retry", "hold"), default="retry")
    parser.add_argument("--folder", help="kept; default: a temporary one, kept only when something is wrong")
    options = parser.parse_args()
    folder = pathlib.Path(options.folder or tempfile.mkdtemp(prefix="sluice-crash-"))
    accounts = Campaign(folder, options.seed, options.kills, options.in_doubt).run()
    print(f"seed {options.seed}, {options.kills} kills, in_doubt {options.in_doubt}: {accounts.summary()}")
    for line in accounts.wrong:
        print(line)
    if not options.folder and not accounts.wrong:
        shutil.rmtree(folder)
    else:
        print(f"kept: {folder}")
    return bool(accounts.wrong)


if __name__ == "__main__":
    sys.exit(main())

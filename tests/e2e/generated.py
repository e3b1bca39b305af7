"""Messages for bulk tests, made from a number: the same number gives the same message, so that what
arrived can be compared with what was sent without keeping it."""
import random

SIZE_MIN, SIZE_MAX = 1024, 64 * 1024
KINDS = ("plain", "dots", "eight-bit", "long-lines", "unix-lines", "odd-line-ends")
WORDS = "the quick brown fox jumps over a lazy dog while mail flows from spool to spool".split()


class Generated:
    def __init__(self, number, domains):
        chance = random.Random(number)
        self.number, self.kind = number, KINDS[number % len(KINDS)]
        size = int(SIZE_MIN * (SIZE_MAX / SIZE_MIN) ** chance.random())
        self.recipients = self._recipients(chance, domains)
        self.from_headers = chance.random() < 0.3
        eol = b"\n" if self.kind == "unix-lines" else b"\r\n"
        body = self._body(chance, size, eol)
        head = [b"From: Sender <sender@origin.test>", b"Subject: bulk %d" % number,
                b"Date: Tue, 01 Jul 2025 10:00:00 +0000", b"Message-ID: <bulk-%d@origin.test>" % number,
                b"X-E2E-Id: %d" % number, b"X-Folded: first" + eol + b"\tsecond"]
        names = [r.encode() for r in self.recipients]
        if self.from_headers:
            head.append(b"To: " + (b"," + eol + b" ").join(b"Name <%s>" % n for n in names[:1]))
            if names[2:]:
                head.append(b"Cc: " + b", ".join(names[2:]))
            hidden = [b"Bcc: " + names[1]] if names[1:] else []
            self.file = eol.join(hidden + head + [b"", b""]) + body
        else:
            head.append(b"To: undisclosed-recipients:;")
            block = [b"X-Sender: <sender@origin.test>"] + [b"X-Receiver: <%s>" % n for n in names]
            self.file = eol.join(block + head + [b"", b""]) + body
        self.sent = eol.join(head + [b"", b""]) + body  # what must arrive, before the wire rules

    @staticmethod
    def _recipients(chance, domains):
        count = 1 if chance.random() < 0.8 else chance.randint(2, 5)
        chosen = [chance.choice(domains) for _ in range(min(count, 3))]
        return [f"u{i}.{chance.randrange(1000)}@{chosen[i % len(chosen)]}" for i in range(count)]

    def _body(self, chance, size, eol):
        lines, length = [], 0
        while length < size:
            line = " ".join(chance.choices(WORDS, k=chance.randint(0, 12))).encode()
            if self.kind == "dots" and chance.random() < 0.4:
                line = b"." * chance.randint(1, 3) + (line if chance.random() < 0.7 else b"")
            elif self.kind == "eight-bit" and chance.random() < 0.5:
                line += " gr\u00fc\u00df \u65e5\u672c\u8a9e".encode() + (b" \xff\x80" if chance.random() < 0.1 else b"")
            elif self.kind == "long-lines" and chance.random() < 0.1:
                line = b"x%d " % chance.randrange(10) * chance.randint(200, 1500)
            end = eol
            if self.kind == "odd-line-ends":
                end = chance.choice((b"\r\n", b"\n", b"\r"))
                # A CR just before an LF line would make one CRLF of two line ends.
                if end == b"\n" and not line:
                    end = b"\r\n"
            lines.append(line + end)
            length += len(line) + len(end)
        body = b"".join(lines)
        return body.rstrip(b"\r\n") + b"no line end here" if chance.random() < 0.1 else body

"""Made-up mail: files that both sluice and the limit program take as they are."""
import os
import shutil
import subprocess

LINE = "The quick brown fox jumps over the lazy dog while nobody looks at it.\r\n"
LONG_AGO = (1e9, 1e9)  # has been still for longer than pickup.settle


def compose(number, recipient, size):
    head = (f"X-Sender: <news@sender.test>\r\nX-Receiver: <{recipient}>\r\n"
            f"Date: Mon, 02 Mar 2026 10:00:00 +0000\r\nFrom: News <news@sender.test>\r\n"
            f"To: Reader {number} <{recipient}>\r\nMessage-ID: <{number}@sender.test>\r\n"
            f"Subject: Number {number}\r\n\r\n")
    lines = max(0, size - len(head)) // len(LINE) + 1
    return (head + LINE * lines).encode()


def fill(spool, num, recipient_of, size):
    """An empty spool with num messages, on disk: what the kernel still had to write is not measured."""
    shutil.rmtree(spool, ignore_errors=True)
    new = spool / "new"
    new.mkdir(parents=True)
    for i in range(num):
        path = f"{new}/{i:07d}"
        with open(path, "wb", buffering=0) as file:
            file.write(compose(i, recipient_of(i), size))
        os.utime(path, LONG_AGO)
    subprocess.run(["sync", "-f", spool], check=False)

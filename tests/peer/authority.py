"""A certificate authority for tests: makes CAs, server and client certificates with the openssl command."""
import pathlib
import subprocess


class Authority:
    """A CA in a folder of its own: .file is its certificate."""

    def __init__(self, folder, name="Test CA"):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.file, self.key, self.made = self.folder / "ca.pem", self.folder / "ca.key", 0
        run("openssl", "req", "-x509", *EC, "-nodes", "-days", "30", "-subj", f"/CN={name}",
            "-keyout", self.key, "-out", self.file)

    def issue(self, *names, days=30, client=False):
        """(certificate, key) for these names ("mx.test", "192.0.2.1"); days may be negative: expired."""
        self.made += 1
        base = self.folder / f"issued{self.made}"
        cert, key, request, extensions = (base.with_suffix(s) for s in (".pem", ".key", ".csr", ".ext"))
        alt = ",".join(("IP:" if name.replace(".", "").isdigit() else "DNS:") + name for name in names)
        extensions.write_text(f"basicConstraints=critical,CA:FALSE\nsubjectAltName={alt}\n"
                              f"extendedKeyUsage={'clientAuth' if client else 'serverAuth'}\n")
        run("openssl", "req", "-new", *EC, "-nodes", "-subj", f"/CN={names[0]}", "-keyout", key, "-out", request)
        run("openssl", "x509", "-req", "-in", request, "-CA", self.file, "-CAkey", self.key, "-set_serial",
            str(self.made), "-days", str(days), "-extfile", extensions, "-out", cert)
        key.chmod(0o600)
        return cert, key


EC = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")


def run(*command):
    subprocess.run([str(c) for c in command], check=True, capture_output=True)

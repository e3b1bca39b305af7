"""What receivers do with STARTTLS, for tests of policies."""
import ssl

from peer import Server


class Refusing(Server):
    def on_starttls(self):
        return self.reply("454 4.7.0 not now")


class Failing(Server):
    def on_starttls(self):
        self.reply("220 2.0.0 go ahead")
        self.conn.read_some()  # the ClientHello: before it, this would be an injection
        self.conn.send(b"this is no TLS\r\n")
        return False


class Wrapped(Server):
    wrapper = True


class NoTickets(Server):
    tickets = 0


class Tls12(Server):
    max_version = ssl.TLSVersion.TLSv1_2

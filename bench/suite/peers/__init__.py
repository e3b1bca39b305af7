"""Other mail servers as senders, one file each, set up as for bulk mail by people who know them."""
from .exim import Exim
from .opensmtpd import OpenSmtpd
from .postfix import Postfix

PEERS = (Postfix(), Postfix(cache=False), Exim(), Exim(cache=False), OpenSmtpd())

"""What senders are told: the report as Python's email package reads it, the DSN extension on the wire,
warnings, and that a crash neither loses nor doubles a report."""
import email
import email.policy
import time

import pytest

from harness import EX_OK, EX_TEMPFAIL, HOSTNAME, Router, Sink, message, wait_for

FAST = {"pickup": {"settle": "0s"}, "retry": {"minimum": "1s", "maximum": "1s"}}


def to_sink(sink, **more):
    return {**FAST, 'destination "*"': {"next_hop": sink.next_hop}, **more}


def with_options(options, recipients, **more):
    return "".join(f"X-Sluice-{o}\r\n" for o in options).encode() + message(recipients, **more)


class Report:
    """A multipart/report in its three parts; every rule that holds for all of them is checked here."""

    def __init__(self, info, content):
        self.info, self.content = info, content
        self.mail = email.message_from_bytes(content, policy=email.policy.default)
        assert not self.mail.defects
        assert self.mail.get_content_type() == "multipart/report"
        assert self.mail.get_param("report-type") == "delivery-status"
        assert self.mail["auto-submitted"] == "auto-replied"
        assert info["mail-from"] == ["<>"]
        assert all(len(line) <= 998 for line in content.split(b"\r\n"))
        parts = list(self.mail.iter_parts())
        self.text = parts[0].get_content()
        assert parts[0].get_content_type() == "text/plain"
        assert parts[1].get_content_type() in ("message/delivery-status", "message/global-delivery-status")
        blocks = parts[1].get_payload() if isinstance(parts[1].get_payload(), list) else [
            email.message_from_string(b, policy=email.policy.compat32)
            for b in parts[1].get_payload(decode=True).decode().replace("\r\n", "\n").strip().split("\n\n")]
        self.message, self.recipients = blocks[0], {b["final-recipient"].split("; ")[1]: b for b in blocks[1:]}
        self.original = parts[2] if len(parts) > 2 else None

    def actions(self):
        return {r: b["action"] for r, b in self.recipients.items()}


def reports(sink):
    return [Report(i, c) for i, c in sink.messages() if b"multipart/report" in c]


def originals(sink):
    return [(i, c) for i, c in sink.messages() if b"multipart/report" not in c]


def test_a_bounce_says_all_that_is_known(tmp_path):
    with Sink(tmp_path / "sink", "reject=bad@d.test,reject=worse@d.test") as sink:
        router = Router(tmp_path, to_sink(sink))
        block = message(["good@d.test", "bad@d.test", "worse@e.test"], extra=["Bcc: secret@d.test"], ident="m")
        block = block.replace(b"<bad@d.test>", b"<bad@d.test> ORCPT=rfc822;Old+2Bname@d.test")
        router.spool.drop("m", b"X-Sluice-Envid: order 42\r\n" + block)
        assert router.drain().code == EX_OK
        [report] = reports(sink)
        assert report.info["rcpt-to"] == ["<sender@origin.test>"]
        assert report.mail["to"] == "<sender@origin.test>" or "sender@origin.test" in str(report.mail["to"])
        assert report.message["reporting-mta"] == f"dns; {HOSTNAME}"
        assert report.message["original-envelope-id"] == "order 42"
        assert email.utils.parsedate_to_datetime(report.message["arrival-date"])
        assert report.actions() == {"bad@d.test": "failed"}
        bad = report.recipients["bad@d.test"]
        assert bad["original-recipient"] == "rfc822; Old+name@d.test"
        assert bad["status"] == "5.1.1"
        assert "127.0.0.1" in bad["remote-mta"]
        assert bad["diagnostic-code"].startswith("smtp; 550 5.1.1 ")
        assert abs(email.utils.parsedate_to_datetime(bad["last-attempt-date"]).timestamp() - time.time()) < 3600
        assert "<bad@d.test>" in report.text and "550 5.1.1" in report.text and "no such mailbox" in report.text
        assert report.original.get_content_type() == "text/rfc822-headers"
        assert "Subject: test" in report.original.get_content()
        assert b"secret" not in report.content and b"X-Receiver" not in report.content


@pytest.mark.parametrize("inline", ["256K", "0"])
@pytest.mark.parametrize("ret, whole", [("FULL", True), ("HDRS", False), (None, False)])
def test_the_original_comes_back_as_asked_for(tmp_path, inline, ret, whole):
    with Sink(tmp_path / "sink", "reject=bad@d.test") as sink:
        router = Router(tmp_path, to_sink(sink, queue={"content_inline_max": inline}))
        options = [f"Ret: {ret}"] if ret else []
        router.spool.drop("m", with_options(options, ["bad@d.test"], body=b"the body\r\n--x\r\n", subject="mine",
                                            extra=["Bcc: secret@d.test"]))
        assert router.drain().code == EX_OK
        [report] = reports(sink)
        if whole:
            inner = report.original.get_payload(0)
            assert report.original.get_content_type() == "message/rfc822"
            assert inner["subject"] == "mine" and inner.get_content().replace("\r\n", "\n") == "the body\n--x\n"
        else:
            assert report.original.get_content_type() == "text/rfc822-headers"
            assert "Subject: mine" in report.original.get_content() and b"the body" not in report.content
        assert b"secret" not in report.content and b"X-Sender" not in report.content


def test_a_whole_original_beyond_the_limit_comes_back_as_its_header(tmp_path):
    with Sink(tmp_path / "sink", "reject=bad@d.test") as sink:
        router = Router(tmp_path, to_sink(sink, queue={"dsn_original_max": "1K"}))
        router.spool.drop("m", with_options(["Ret: FULL"], ["bad@d.test"], body=b"y" * 900 + b"\r\n"))
        assert router.drain().code == EX_OK
        [report] = reports(sink)
        assert report.original.get_content_type() == "text/rfc822-headers"
        assert b"yyyy" not in report.content


def test_who_is_told_of_failure(tmp_path):
    with Sink(tmp_path / "sink", "reject=@d.test") as sink:
        router = Router(tmp_path, to_sink(sink))
        block = message(["unsaid@d.test", "never@d.test", "success@d.test", "failure@d.test"])
        for word in ("never", "success", "failure"):
            block = block.replace(f"<{word}@d.test>".encode(), f"<{word}@d.test> NOTIFY={word}".encode())
        router.spool.drop("m", block)
        router.spool.drop("silent", with_options(["Notify: NEVER"], ["x@d.test"]))
        assert router.drain().code == EX_OK
        [report] = reports(sink)
        assert report.actions() == {"unsaid@d.test": "failed", "failure@d.test": "failed"}
        assert router.spool.is_empty()


def test_success_is_reported_by_the_last_host_that_can(tmp_path):
    with Sink(tmp_path / "sink", "name=dsn", "name=plain,no-dsn", "name=box,lmtp,no-dsn") as sink:
        hops = {d: f"[127.0.0.1]:{p}" for d, p in zip(("dsn.test", "plain.test"), sink.ports)}
        config = {**FAST, **{f'destination "{d}"': {"next_hop": h} for d, h in hops.items()}}
        config['destination "box.test"'] = {"next_hop": f"lmtp:[127.0.0.1]:{sink.ports[2]}"}
        config['destination "origin.test"'] = {"next_hop": hops["dsn.test"]}
        router = Router(tmp_path, config)
        router.spool.drop("m", with_options(["Notify: SUCCESS,FAILURE", "Ret: HDRS", "Envid: a+b"],
                                            ["a@dsn.test", "b@plain.test", "c@box.test"], ident="m"))
        assert router.drain().code == EX_OK
        actions = {}
        for report in reports(sink):
            assert report.mail["subject"] == "Successful Mail Delivery Report"
            assert all(b["status"].startswith("2.") for b in report.recipients.values())
            actions.update(report.actions())
        assert actions == {"b@plain.test": "relayed", "c@box.test": "delivered"}
        by_listener = {i["listener"][0]: i for i, _ in originals(sink)}
        assert "RET=HDRS ENVID=a+2Bb" in by_listener["dsn"]["mail-parameters"][0]
        assert by_listener["dsn"]["rcpt-parameters"] == [
            "<a@dsn.test> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;a@dsn.test"]
        assert "RET=" not in by_listener["plain"].get("mail-parameters", [""])[0]
        assert "rcpt-parameters" not in by_listener["plain"]


def test_mail_that_asks_for_nothing_says_nothing_of_dsn(tmp_path):
    with Sink(tmp_path / "sink") as sink:
        router = Router(tmp_path, to_sink(sink))
        router.spool.drop("m", message(["a@d.test"]))
        assert router.drain().code == EX_OK
        [(info, _)] = sink.messages()
        assert "RET=" not in info.get("mail-parameters", [""])[0] and "rcpt-parameters" not in info


def test_one_warning_for_late_mail_even_over_restarts(tmp_path):
    with Sink(tmp_path / "sink", "defer=@d.test") as sink:
        config = to_sink(sink)
        config["retry"] = {"minimum": "200ms", "maximum": "300ms", "warn_after": "1s", "lifetime": "1h"}
        router = Router(tmp_path, config)
        block = message(["late@d.test", "patient@d.test"])
        router.spool.drop("m", block.replace(b"<patient@d.test>", b"<patient@d.test> NOTIFY=FAILURE"))
        for _ in range(2):
            router.start()
            seen = len([e for e in router.log() if e["event"] == "deferred"])
            wait_for(lambda: reports(sink) and len([e for e in router.log() if e["event"] == "deferred"]) >= seen + 6,
                     "a warning and three more attempts of each")
            router.stop()
        [report] = reports(sink)
        assert report.actions() == {"late@d.test": "delayed"}
        late = report.recipients["late@d.test"]
        assert late["status"].startswith("4.") and late["diagnostic-code"].startswith("smtp; 451 ")
        assert email.utils.parsedate_to_datetime(late["will-retry-until"]).timestamp() > time.time() + 1800
        assert "tried again" in report.text and "Delayed" in report.mail["subject"]


def test_a_site_that_is_down_does_not_swallow_the_warning(tmp_path):
    """Its mail is not attempted one by one while the site is suspended, and is late all the same."""
    with Sink(tmp_path / "sink") as sink:
        config = to_sink(sink)
        config["retry"] = {"minimum": "600s", "maximum": "600s", "warn_after": "2s"}
        config['destination "down.test"'] = {"next_hop": "[127.0.0.1]:1"}
        router = Router(tmp_path, config)
        for i in range(3):
            router.spool.drop(f"m{i}", message([f"u{i}@down.test"]))
        router.start()
        wait_for(lambda: len(reports(sink)) == 3, "a warning for each message")
        router.stop()
        assert {a for r in reports(sink) for a in r.actions().items()} == {(f"u{i}@down.test", "delayed")
                                                                          for i in range(3)}


def test_mail_that_expired_while_nothing_ran_has_a_last_try_and_its_report_names_that_host(tmp_path):
    with Sink(tmp_path / "sink", "defer=u@d.test") as sink:
        config = to_sink(sink)
        config["retry"] = {"minimum": "1s", "maximum": "1s"}
        router = Router(tmp_path, config)
        router.spool.drop("m", message(["u@d.test"]))
        assert router.drain().code == EX_TEMPFAIL
        wait_for(lambda: router.queue()[0]["age"] > 1.1, "an age beyond the shortest lifetime")
        router.config['destination "d.test"'] = {"next_hop": "[127.0.0.1]:1"}
        router.config["retry"]["lifetime"] = "1s"
        assert router.drain("--until-empty").code == EX_OK
        [report] = reports(sink)
        failed = report.recipients["u@d.test"]
        assert failed["action"] == "failed" and failed["status"] in ("5.4.7", "4.4.7")
        assert failed["remote-mta"] == "dns; 127.0.0.1" and "refused: 127.0.0.1[127.0.0.1]:1" in report.text


def test_recipients_that_bounce_in_different_attempts_are_each_told_of_once(tmp_path):
    """Equal attempt numbers of two recipients must not give two reports one name."""
    with Sink(tmp_path / "sink", "name=a,defer-first=1,reject=a@a.test", "name=b,defer=b@b.test", "name=c") as sink:
        config = {**FAST, "retry": {"minimum": "1s", "maximum": "1s", "lifetime": "4s"}}
        for domain, port in zip(("a.test", "b.test", "origin.test"), sink.ports):
            config[f'destination "{domain}"'] = {"next_hop": f"[127.0.0.1]:{port}"}
        router = Router(tmp_path, config)
        router.spool.drop("m", message(["a@a.test", "b@b.test"]))
        assert router.drain("--until-empty").code == EX_OK
        found = reports(sink)
        assert sorted(r for report in found for r in report.recipients) == ["a@a.test", "b@b.test"]
        assert len(found) == 2 and len({r.mail["message-id"] for r in found}) == 2


def test_a_draft_left_by_a_crash_is_published_or_made_again(tmp_path):
    """What the journal does not know was never told: a stale draft of a waiting message is dropped, and
    one whose message is gone is sent."""
    with Sink(tmp_path / "sink", "defer=u@d.test") as sink:
        router = Router(tmp_path, to_sink(sink))
        router.spool.drop("m", message(["u@d.test"]))
        assert router.drain().code == EX_TEMPFAIL
        [waiting] = router.queue()
        draft = message(["sender@origin.test"], sender="", subject="draft")
        (router.spool.path / "tmp" / f"dsn-{waiting['id']}-1.tmp").write_bytes(draft)
        (router.spool.path / "tmp" / "dsn-0000000000001-1.tmp").write_bytes(draft.replace(b"draft", b"known"))
        (router.spool.path / "tmp" / "mine.tmp").write_bytes(b"somebody composes")
        router.drain()
        assert [c.split(b"Subject: ")[1].split(b"\r\n")[0] for _, c in sink.messages()] == [b"known"]
        assert router.spool.files("tmp") == ["tmp/mine.tmp"]


def test_a_hostile_reply_cannot_break_the_report(tmp_path):
    from peer import Peer, Server

    class Hostile(Server):
        def on_rcpt(self, recipient, params):
            if recipient.endswith("@origin.test"):
                return super().on_rcpt(recipient, params)
            return self.reply("550-5.1.1 \x01\x7f--=_x\r\n550-5.1.1 Bcc: victim@d.test\r\n550 5.1.1 " + "z" * 2000)

    with Sink(tmp_path / "sink") as sink, Peer(Hostile) as peer:
        config = to_sink(sink)
        config['destination "d.test"'] = {"next_hop": peer.next_hop}
        router = Router(tmp_path, config)
        router.spool.drop("m", message(["a@d.test"]))
        assert router.drain().code == EX_OK
        [report] = reports(sink)
        assert report.recipients["a@d.test"]["status"] == "5.1.1"
        assert "victim" not in str(report.mail["bcc"] or "") and "\x01" not in report.text

"""`ovx-lite webhook`, `delivery` and `verify`, as they are called."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ovx_lite.cli import main
from ovx_lite.webhooks.message import format_for
from tests.conftest import Ran, Start, Store
from tests.support.commands import eventually, fails
from tests.support.webhook_commands import ALLOW, Receiver
from tests.support.webhook_commands import receiver as receiver


class Called(Store):
    """A data dir with a site, and commands in this process that may reach loopback."""

    def do(self, *words: str, stdin: bytes = b"", **env: str) -> Ran:
        done = CliRunner().invoke(main, words, input=stdin, env={"OVX_DATA_DIR": str(self.path)} | ALLOW | env)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return Ran(done.exit_code, done.stdout, done.stderr)

    def json(self, *words: str, status: int = 0) -> Any:
        ran = self.do(*words, "--json")
        assert (ran.status, ran.out.count("\n")) == (status, 1), ran
        return ran.json

    def log(self, *words: str) -> list[str]:
        return [one["id"] for one in self.json("delivery", "list", "my-site", *words)]

    def add(self, url: str = "https://127.0.0.1:1/", *options: str) -> dict[str, Any]:
        added: dict[str, Any] = self.json("webhook", "add", "my-site", url, *(options or ("--on", "goal.completed")))
        return added


@pytest.fixture
def store(tmp_path: Path) -> Called:
    made = Called(tmp_path / "data")
    made.site()
    return made


def test_a_webhook_from_its_first_day_to_its_last(store: Called) -> None:
    options = ["--on", "realtime.spike", "--on", "goal.completed", "--on", "realtime.spike", "--spike-above", "7"]
    added = store.add("https://127.0.0.1/x", *options, "--format", "slack")
    id, secret = added["id"], added.pop("secret")
    assert secret.startswith("whsec_")
    shown = {"url": "https://127.0.0.1/x", "spike_above": 7, "format": "slack", "enabled": True}
    assert added == {"id": id, "events": ["realtime.spike", "goal.completed"], "disabled_because": None} | shown
    assert store.json("webhook", "list", "my-site") == [added]
    assert secret not in store.do("webhook", "list", "my-site").out
    assert store.json("webhook", "disable", id) == added | {"enabled": False}
    assert store.json("webhook", "enable", id) == added
    rotated = store.json("webhook", "rotate-secret", id)
    assert rotated == added | {"secret": rotated["secret"]} != added | {"secret": secret}
    assert store.json("webhook", "remove", id) == {"id": id, "removed": True}
    assert store.json("webhook", "list", "my-site") == []
    for command in ("test", "rotate-secret", "enable", "disable", "remove"):
        assert fails(store.do("webhook", command, id, "--json")), command


def test_the_sixth_webhook_of_a_site_is_one_too_many(store: Called) -> None:
    ids = [store.add()["id"] for _ in range(5)]
    words = ["webhook", "add", "my-site", "https://127.0.0.1/", "--on", "goal.completed"]
    assert "5" in store.do(*words).err
    store.json("webhook", "disable", ids[0])
    assert fails(store.do(*words)), "a disabled one is one, too"
    store.json("webhook", "remove", ids[0])
    assert store.do(*words).status == 0


WRONG = """
add my-site https://127.0.0.1/|add my-site https://127.0.0.1/ --on pageview|add my-site https://127.0.0.1/ --on
add my-site https://127.0.0.1/ --on goal.completed --format xml|add my-site --on goal.completed|add my-site|add|test
add my-site https://127.0.0.1/ --on realtime.spike|add my-site https://127.0.0.1/ --on realtime.spike --spike-above 0
add my-site https://127.0.0.1/ --on realtime.spike --spike-above -1|enable|disable|remove|rotate-secret|list|nonsense
add my-site https://127.0.0.1/ --on realtime.spike --spike-above x|list my-site --status pending
add my-site https://127.0.0.1/ --on goal.completed --spike-above 5|add my-site https://127.0.0.1/ --on goal.Completed
"""


@pytest.mark.parametrize("words", WRONG.strip().replace("\n", "|").split("|"))
def test_a_wrong_call_is_status_2_and_adds_nothing(store: Called, words: str) -> None:
    ran = store.do("webhook", *words.split(), "--json")
    assert (ran.status, ran.out) == (2, "")
    assert store.json("webhook", "list", "my-site") == []


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/", "https://127.0.0.1/", "http://8.8.8.8/", "https://10.1.2.3/"])
def test_a_url_that_is_not_open_is_refused_and_how_to_open_it_is_told(store: Called, url: str) -> None:
    words = ["webhook", "add", "my-site", url, "--on", "goal.completed"]
    ran = store.do(*words, OVX_WEBHOOK_ALLOW_NET="192.168.0.0/16")
    assert (fails(ran), "OVX_WEBHOOK_ALLOW_NET" in ran.err) == (True, True)
    assert store.do(*words, OVX_WEBHOOK_ALLOW_NET="0.0.0.0/0").status == 0


def test_what_cannot_be_added_is_told_in_a_sentence(store: Called) -> None:
    tried = [("nowhere", "https://127.0.0.1/"), ("my-site", "ftp://127.0.0.1/"), ("my-site", "https://me:x@127.0.0.1/")]
    for site, url in [*tried, ("my-site", "https://127.1/"), ("my-site", "x")]:
        ran = store.do("webhook", "add", site, url, "--on", "goal.completed", "--json")
        assert fails(ran), ran
    assert fails(store.do("webhook", "add", "my-site", "x", "--on", "goal.completed", OVX_WEBHOOK_ALLOW_NET="x"))
    assert fails(store.do("webhook", "list", "nowhere", "--json"))


FORMATS = """
slack hooks.slack.com/services/T/B/x|slack HOOKS.Slack.com:443/x|discord discord.com/api/webhooks/1/x|json slack.com/x
discord discordapp.com/api/webhooks/1/x|json notdiscord.com/x|json hooks.slack.com.example.com/x|json a.com/discord.com
"""


@pytest.mark.parametrize("row", FORMATS.strip().replace("\n", "|").split("|"))
def test_the_format_is_chosen_by_the_host(row: str) -> None:
    format, url = row.split()
    assert format_for(f"https://{url}") == format


def test_a_sample_is_sent_and_logged_whatever_is_answered(store: Called, receiver: Receiver) -> None:
    id = store.add(receiver.url)["id"]
    sent = store.json("webhook", "test", id)
    receiver.status = 500
    failed = store.json("webhook", "test", id, status=1)
    assert (sent["status"], sent["attempt"]["status"], sent["attempt"]["answer"]) == ("delivered", 200, "ok")
    assert (store.log(), store.log("--status", "failed")) == ([failed["id"], sent["id"]], [failed["id"]])
    shown = store.json("delivery", "show", failed["id"])
    (attempt,) = shown["attempts"]
    assert (shown["event"], shown["webhook"], attempt["answer"]) == ("goal.completed", id, "ok")
    assert receiver.saved[1].endswith(b"\r\n\r\n" + shown["body"].encode())
    assert attempt["headers"]["webhook-id"] == failed["id"]
    assert "500" in store.do("delivery", "show", failed["id"]).out
    ran = store.do("webhook", "test", id, "--json", OVX_WEBHOOK_ALLOW_NET="")
    assert (ran.status, ran.json["attempt"]["error"], len(receiver.saved)) == (1, "forbidden", 2)


def test_a_saved_request_is_verified(store: Called, receiver: Receiver, tmp_path: Path) -> None:
    added = store.add(receiver.url)
    store.json("webhook", "test", added["id"])
    good, file = receiver.saved[0], tmp_path / "request"
    head, _, body = good.partition(b"\r\n\r\n")
    no_standard = head.replace(b"webhook-signature: v1", b"x: v1")
    how, names = ["--webhook", added["id"]], ["X-Ovyxa-Signature", "webhook-signature"]
    rows: list[tuple[bytes, list[bool | None]]] = [
        (good, [True, True]),
        (good.partition(b"\r\n")[2], [True, True]),
        (no_standard.replace(b"\r\n", b"\n").lower() + b"\n\n" + body, [True, None]),
        (good.replace(b"Sample", b"sample"), [False, False]),
        (good + b"\n", [False, False]),
        (good.replace(b"webhook-timestamp: 1", b"webhook-timestamp: 2"), [True, False]),
        (good.replace(b"webhook-signature: v1,", b"webhook-signature: v2,"), [True, False]),
        (good.replace(b"X-Ovyxa-Signature: ", b"X-Ovyxa-Signature: 0"), [False, True]),
        (b"Host: x\r\n\r\n" + body, [None, None]),
    ]
    for request, expected in rows:
        file.write_bytes(request)
        status = int(False in expected or True not in expected)
        for path, stdin, whose in ((str(file), b"", how), ("-", request, ["--secret", added["secret"]])):
            ran = store.do("verify", path, *whose, "--json", stdin=stdin)
            assert (ran.status, ran.json) == (status, dict(zip(names, expected, strict=True))), request
    assert store.do("verify", "-", "--secret", "whsec_" + "AA" * 20 + "A=", "--json", stdin=good).status == 1
    assert fails(store.do("verify", "-", "--secret", "whsec_?", "--json", stdin=good))
    assert fails(store.do("verify", "-", "--webhook", "wh_nowhere", "--json", stdin=good))
    assert fails(store.do("verify", "-", *how, "--json", stdin=b"no empty line"))
    for words in (["-"], ["-", *how, "--secret", "x"], [str(tmp_path / "missing"), *how], how):
        assert store.do("verify", *words, "--json", stdin=good).status == 2
    assert store.do("verify", "-", "--json", stdin=good, OVX_WEBHOOK_SECRET=added["secret"]).status == 0


def test_after_a_rotation_both_secrets_sign_a_sample_too(store: Called, receiver: Receiver) -> None:
    old = store.add(receiver.url)
    new = store.json("webhook", "rotate-secret", old["id"])
    store.json("webhook", "test", old["id"])
    for shown in (new, old):
        ran = store.do("verify", "-", "--secret", shown["secret"], "--json", stdin=receiver.saved[0])
        assert ran.json["webhook-signature"] is True


def test_what_failed_is_sent_again(store: Called, receiver: Receiver, start: Start) -> None:
    id, receiver.status = store.add(receiver.url)["id"], 410
    store.json("goal", "add", "my-site", "All", "--path", "/**")
    key, server = store.key(), start(store, "--webhook-allow-net", "127.0.0.0/8")
    server.pageview(key)
    assert eventually(lambda: len(store.log("--status", "failed")) == 1)
    (failed,) = store.log()
    assert fails(store.do("delivery", "redeliver", failed, "--json")), "its webhook is disabled"
    everything = ["delivery", "redeliver", "--site", "my-site", "--failed-since"]
    assert store.json(*everything, "2020-01-01") == {"redelivered": 0}
    receiver.status = 204
    store.json("webhook", "enable", id)
    assert store.json(*everything, "2020-01-01T00:00:00Z") == {"redelivered": 1}
    assert eventually(lambda: store.log("--status", "delivered") == [failed])
    assert store.json("delivery", "redeliver", failed) == {"redelivered": 1}
    assert eventually(lambda: len(receiver.saved) == 3)
    assert len({request.partition(b"\r\n\r\n")[2] for request in receiver.saved}) == 1
    assert eventually(lambda: len(store.json("delivery", "show", failed)["attempts"]) == 3)


@pytest.mark.parametrize("id", ["msg_0", "msg_", "x", "", "msg_-1", "msg_" + "f" * 20, "msg_-" + "f" * 20])
def test_there_is_no_such_delivery(store: Called, id: str) -> None:
    for command in ("show", "redeliver"):
        assert fails(store.do("delivery", command, id, "--json"))


def test_deliveries_that_cannot_be_listed_or_sent_again(store: Called) -> None:
    since = ["--failed-since", "2020-01-01"]
    for words in ([], ["msg_0", "--site", "a"], ["--site", "my-site"], since, ["msg_0", *since]):
        assert store.do("delivery", "redeliver", *words, "--json").status == 2, words
    assert store.do("delivery", "list", "my-site", "--status", "lost").status == 2
    assert store.log() == []
    assert fails(store.do("delivery", "list", "nowhere", "--json"))
    assert fails(store.do("delivery", "redeliver", "--site", "nowhere", *since))

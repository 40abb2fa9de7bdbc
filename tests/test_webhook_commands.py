"""The commands `ovx-lite webhook`, `delivery` and `verify`."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ovx_lite.cli import main
from ovx_lite.webhooks.message import format_for
from tests.conftest import CommandResult, Start, Store
from tests.support.commands import eventually, fails
from tests.support.webhook_commands import ALLOW_ENV, Receiver
from tests.support.webhook_commands import receiver as receiver


class InProcessStore(Store):
    """A data directory with a site; commands run in this process and may send webhooks to loopback."""

    def invoke(self, *args: str, stdin: bytes = b"", **env: str) -> CommandResult:
        completed = CliRunner().invoke(main, args, input=stdin, env={"OVX_DATA_DIR": str(self.path)} | ALLOW_ENV | env)
        assert completed.exception is None or isinstance(completed.exception, SystemExit), completed.exception
        return CommandResult(completed.exit_code, completed.stdout, completed.stderr)

    def invoke_json(self, *args: str, exit_status: int = 0) -> Any:
        result = self.invoke(*args, "--json")
        assert (result.exit_status, result.stdout.count("\n")) == (exit_status, 1), result
        return result.json

    def delivery_ids(self, *args: str) -> list[str]:
        return [delivery["id"] for delivery in self.invoke_json("delivery", "list", "my-site", *args)]

    def add_webhook(self, url: str = "https://127.0.0.1:1/", *options: str) -> dict[str, Any]:
        added: dict[str, Any] = self.invoke_json(
            "webhook", "add", "my-site", url, *(options or ("--on", "goal.completed"))
        )
        return added


@pytest.fixture
def store(tmp_path: Path) -> InProcessStore:
    local_store = InProcessStore(tmp_path / "data")
    local_store.site()
    return local_store


def test_a_webhook_is_added_changed_and_removed(store: InProcessStore) -> None:
    options = ["--on", "realtime.spike", "--on", "goal.completed", "--on", "realtime.spike", "--spike-above", "7"]
    added = store.add_webhook("https://127.0.0.1/x", *options, "--format", "slack")
    id, secret = added["id"], added.pop("secret")
    assert secret.startswith("whsec_")
    fields = {"url": "https://127.0.0.1/x", "spike_above": 7, "format": "slack", "enabled": True}
    assert added == {"id": id, "events": ["realtime.spike", "goal.completed"], "disabled_because": None} | fields
    assert store.invoke_json("webhook", "list", "my-site") == [added]
    assert secret not in store.invoke("webhook", "list", "my-site").stdout
    assert store.invoke_json("webhook", "disable", id) == added | {"enabled": False}
    assert store.invoke_json("webhook", "enable", id) == added
    rotated = store.invoke_json("webhook", "rotate-secret", id)
    assert rotated == added | {"secret": rotated["secret"]} != added | {"secret": secret}
    assert store.invoke_json("webhook", "remove", id) == {"id": id, "removed": True}
    assert store.invoke_json("webhook", "list", "my-site") == []
    for command in ("test", "rotate-secret", "enable", "disable", "remove"):
        assert fails(store.invoke("webhook", command, id, "--json")), command


def test_a_site_may_have_at_most_five_webhooks(store: InProcessStore) -> None:
    ids = [store.add_webhook()["id"] for _ in range(5)]
    args = ["webhook", "add", "my-site", "https://127.0.0.1/", "--on", "goal.completed"]
    assert "5" in store.invoke(*args).stderr
    store.invoke_json("webhook", "disable", ids[0])
    assert fails(store.invoke(*args)), "a disabled webhook counts too"
    store.invoke_json("webhook", "remove", ids[0])
    assert store.invoke(*args).exit_status == 0


INVALID_CALLS = """
add my-site https://127.0.0.1/|add my-site https://127.0.0.1/ --on pageview|add my-site https://127.0.0.1/ --on
add my-site https://127.0.0.1/ --on goal.completed --format xml|add my-site --on goal.completed|add my-site|add|test
add my-site https://127.0.0.1/ --on realtime.spike|add my-site https://127.0.0.1/ --on realtime.spike --spike-above 0
add my-site https://127.0.0.1/ --on realtime.spike --spike-above -1|enable|disable|remove|rotate-secret|list|nonsense
add my-site https://127.0.0.1/ --on realtime.spike --spike-above x|list my-site --status pending
add my-site https://127.0.0.1/ --on goal.completed --spike-above 5|add my-site https://127.0.0.1/ --on goal.Completed
"""


@pytest.mark.parametrize("call", INVALID_CALLS.strip().replace("\n", "|").split("|"))
def test_an_invalid_call_exits_with_status_2_and_adds_nothing(store: InProcessStore, call: str) -> None:
    result = store.invoke("webhook", *call.split(), "--json")
    assert (result.exit_status, result.stdout) == (2, "")
    assert store.invoke_json("webhook", "list", "my-site") == []


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/", "https://127.0.0.1/", "http://8.8.8.8/", "https://10.1.2.3/"])
def test_a_blocked_url_is_refused_with_the_setting_that_allows_it(store: InProcessStore, url: str) -> None:
    args = ["webhook", "add", "my-site", url, "--on", "goal.completed"]
    result = store.invoke(*args, OVX_WEBHOOK_ALLOW_NET="192.168.0.0/16")
    assert (fails(result), "OVX_WEBHOOK_ALLOW_NET" in result.stderr) == (True, True)
    assert store.invoke(*args, OVX_WEBHOOK_ALLOW_NET="0.0.0.0/0").exit_status == 0


def test_an_invalid_webhook_gives_a_one_line_error(store: InProcessStore) -> None:
    invalid_webhooks = [
        ("nowhere", "https://127.0.0.1/"),
        ("my-site", "ftp://127.0.0.1/"),
        ("my-site", "https://me:x@127.0.0.1/"),
    ]
    for site, url in [*invalid_webhooks, ("my-site", "https://127.1/"), ("my-site", "x")]:
        result = store.invoke("webhook", "add", site, url, "--on", "goal.completed", "--json")
        assert fails(result), result
    assert fails(store.invoke("webhook", "add", "my-site", "x", "--on", "goal.completed", OVX_WEBHOOK_ALLOW_NET="x"))
    assert fails(store.invoke("webhook", "list", "nowhere", "--json"))


FORMATS = """
slack hooks.slack.com/services/T/B/x|slack HOOKS.Slack.com:443/x|discord discord.com/api/webhooks/1/x|json slack.com/x
discord discordapp.com/api/webhooks/1/x|json notdiscord.com/x|json hooks.slack.com.example.com/x|json a.com/discord.com
"""


@pytest.mark.parametrize("row", FORMATS.strip().replace("\n", "|").split("|"))
def test_the_format_is_chosen_by_the_host(row: str) -> None:
    format, url = row.split()
    assert format_for(f"https://{url}") == format


def test_a_test_message_is_sent_and_logged_whatever_the_response(store: InProcessStore, receiver: Receiver) -> None:
    id = store.add_webhook(receiver.url)["id"]
    delivered = store.invoke_json("webhook", "test", id)
    receiver.response_status = 500
    failed = store.invoke_json("webhook", "test", id, exit_status=1)
    assert (delivered["status"], delivered["attempt"]["status"], delivered["attempt"]["answer"]) == (
        "delivered",
        200,
        "ok",
    )
    assert (store.delivery_ids(), store.delivery_ids("--status", "failed")) == (
        [failed["id"], delivered["id"]],
        [failed["id"]],
    )
    details = store.invoke_json("delivery", "show", failed["id"])
    (attempt,) = details["attempts"]
    assert (details["event"], details["webhook"], attempt["answer"]) == ("goal.completed", id, "ok")
    assert receiver.requests[1].endswith(b"\r\n\r\n" + details["body"].encode())
    assert attempt["headers"]["webhook-id"] == failed["id"]
    assert "500" in store.invoke("delivery", "show", failed["id"]).stdout
    result = store.invoke("webhook", "test", id, "--json", OVX_WEBHOOK_ALLOW_NET="")
    assert (result.exit_status, result.json["attempt"]["error"], len(receiver.requests)) == (1, "forbidden", 2)


def test_verify_checks_the_signatures_of_a_saved_request(
    store: InProcessStore, receiver: Receiver, tmp_path: Path
) -> None:
    added = store.add_webhook(receiver.url)
    store.invoke_json("webhook", "test", added["id"])
    valid_request, file = receiver.requests[0], tmp_path / "request"
    head, _, body = valid_request.partition(b"\r\n\r\n")
    no_standard = head.replace(b"webhook-signature: v1", b"x: v1")
    webhook_options, header_names = ["--webhook", added["id"]], ["X-Ovyxa-Signature", "webhook-signature"]
    rows: list[tuple[bytes, list[bool | None]]] = [
        (valid_request, [True, True]),
        (valid_request.partition(b"\r\n")[2], [True, True]),
        (no_standard.replace(b"\r\n", b"\n").lower() + b"\n\n" + body, [True, None]),
        (valid_request.replace(b"Sample", b"sample"), [False, False]),
        (valid_request + b"\n", [False, False]),
        (valid_request.replace(b"webhook-timestamp: 1", b"webhook-timestamp: 2"), [True, False]),
        (valid_request.replace(b"webhook-signature: v1,", b"webhook-signature: v2,"), [True, False]),
        (valid_request.replace(b"X-Ovyxa-Signature: ", b"X-Ovyxa-Signature: 0"), [False, True]),
        (b"Host: x\r\n\r\n" + body, [None, None]),
    ]
    for request, expected in rows:
        file.write_bytes(request)
        exit_status = int(False in expected or True not in expected)
        for path, stdin, secret_source in (
            (str(file), b"", webhook_options),
            ("-", request, ["--secret", added["secret"]]),
        ):
            result = store.invoke("verify", path, *secret_source, "--json", stdin=stdin)
            assert (result.exit_status, result.json) == (exit_status, dict(zip(header_names, expected, strict=True))), (
                request
            )
    assert (
        store.invoke("verify", "-", "--secret", "whsec_" + "AA" * 20 + "A=", "--json", stdin=valid_request).exit_status
        == 1
    )
    assert fails(store.invoke("verify", "-", "--secret", "whsec_?", "--json", stdin=valid_request))
    assert fails(store.invoke("verify", "-", "--webhook", "wh_nowhere", "--json", stdin=valid_request))
    assert fails(store.invoke("verify", "-", *webhook_options, "--json", stdin=b"no empty line"))
    for args in (
        ["-"],
        ["-", *webhook_options, "--secret", "x"],
        [str(tmp_path / "missing"), *webhook_options],
        webhook_options,
    ):
        assert store.invoke("verify", *args, "--json", stdin=valid_request).exit_status == 2
    assert (
        store.invoke("verify", "-", "--json", stdin=valid_request, OVX_WEBHOOK_SECRET=added["secret"]).exit_status == 0
    )


def test_after_a_rotation_both_secrets_sign_a_test_message(store: InProcessStore, receiver: Receiver) -> None:
    old = store.add_webhook(receiver.url)
    new = store.invoke_json("webhook", "rotate-secret", old["id"])
    store.invoke_json("webhook", "test", old["id"])
    for webhook in (new, old):
        result = store.invoke("verify", "-", "--secret", webhook["secret"], "--json", stdin=receiver.requests[0])
        assert result.json["webhook-signature"] is True


def test_a_failed_delivery_can_be_sent_again(store: InProcessStore, receiver: Receiver, start: Start) -> None:
    id, receiver.response_status = store.add_webhook(receiver.url)["id"], 410
    store.invoke_json("goal", "add", "my-site", "All", "--path", "/**")
    key, server = store.key(), start(store, "--webhook-allow-net", "127.0.0.0/8")
    server.pageview(key)
    assert eventually(lambda: len(store.delivery_ids("--status", "failed")) == 1)
    (failed,) = store.delivery_ids()
    assert fails(store.invoke("delivery", "redeliver", failed, "--json")), "a disabled webhook receives nothing"
    redeliver_failed = ["delivery", "redeliver", "--site", "my-site", "--failed-since"]
    assert store.invoke_json(*redeliver_failed, "2020-01-01") == {"redelivered": 0}
    receiver.response_status = 204
    store.invoke_json("webhook", "enable", id)
    assert store.invoke_json(*redeliver_failed, "2020-01-01T00:00:00Z") == {"redelivered": 1}
    assert eventually(lambda: store.delivery_ids("--status", "delivered") == [failed])
    assert store.invoke_json("delivery", "redeliver", failed) == {"redelivered": 1}
    assert eventually(lambda: len(receiver.requests) == 3)
    assert len({request.partition(b"\r\n\r\n")[2] for request in receiver.requests}) == 1
    assert eventually(lambda: len(store.invoke_json("delivery", "show", failed)["attempts"]) == 3)


@pytest.mark.parametrize("id", ["msg_0", "msg_", "x", "", "msg_-1", "msg_" + "f" * 20, "msg_-" + "f" * 20])
def test_an_unknown_delivery_is_an_error(store: InProcessStore, id: str) -> None:
    for command in ("show", "redeliver"):
        assert fails(store.invoke("delivery", command, id, "--json"))


def test_an_invalid_delivery_command_fails(store: InProcessStore) -> None:
    failed_since = ["--failed-since", "2020-01-01"]
    for args in ([], ["msg_0", "--site", "a"], ["--site", "my-site"], failed_since, ["msg_0", *failed_since]):
        assert store.invoke("delivery", "redeliver", *args, "--json").exit_status == 2, args
    assert store.invoke("delivery", "list", "my-site", "--status", "lost").exit_status == 2
    assert store.delivery_ids() == []
    assert fails(store.invoke("delivery", "list", "nowhere", "--json"))
    assert fails(store.invoke("delivery", "redeliver", "--site", "nowhere", *failed_since))

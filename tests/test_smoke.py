from tests.conftest import Running


def test_event(running: Running) -> None:
    answer = running.server.pageview(running.key)
    assert answer.status == 201
    assert [event["id"] for event in running.store.events()] == [answer.json["event_id"]]

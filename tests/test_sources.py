"""`ovx_lite.enrichment.traffic_source`: sources and channels of referrers and campaigns."""

import pytest

from ovx_lite.domain.models import Campaign, TrafficSource
from ovx_lite.enrichment.tables import read_table
from ovx_lite.enrichment.traffic_source import classify_source

HOST = "www.example.com"
DOMAIN = "example.com"
CHANNELS = {"direct", "search", "social", "ai", "email", "paid", "own", "referral", "campaign"}


def source_and_channel(referrer: str, *campaign: str, host: str = HOST, domain: str = DOMAIN) -> tuple[str, str]:
    traffic_source = classify_source(referrer, Campaign(*campaign), host, domain)
    return traffic_source.source, traffic_source.channel


@pytest.mark.parametrize(
    ("source", "channel", "referrers"),
    [
        ("direct", "direct", ["", "/"]),
        ("google", "search", ["www.google.com/", "google.de/search", "www.google.co.uk/", "www.google.com.br/url"]),
        ("google", "search", ["www.google.cat/", "images.google.fr/imgres", "encrypted.google.com/"]),
        ("google", "search", ["com.google.android.googlequicksearchbox/"]),
        ("bing", "search", ["www.bing.com/search", "cn.bing.com/search"]),
        ("duckduckgo", "search", ["duckduckgo.com/", "r.duckduckgo.com/l/"]),
        ("yahoo", "search", ["search.yahoo.com/", "r.search.yahoo.com/", "search.yahoo.co.jp/search"]),
        ("yandex", "search", ["yandex.ru/search/", "yandex.com.tr/search", "images.yandex.kz/", "ya.ru/"]),
        ("baidu", "search", ["m.baidu.com/s", "image.baidu.com/"]),
        ("naver", "search", ["m.search.naver.com/search.naver"]),
        ("daum", "search", ["search.daum.net/search"]),
        ("seznam", "search", ["search.seznam.cz/"]),
        ("aol", "search", ["search.aol.co.uk/aol/search"]),
        ("brave", "search", ["search.brave.com/search"]),
        ("ask", "search", ["www.ask.com/web", "uk.ask.com/web"]),
        ("gomail", "search", ["go.mail.ru/search"]),
        ("facebook", "social", ["l.facebook.com/l.php", "lm.facebook.com/", "m.facebook.com/", "com.facebook.katana/"]),
        ("instagram", "social", ["l.instagram.com/", "com.instagram.android/"]),
        ("x", "social", ["t.co/abc", "x.com/someone", "mobile.twitter.com/", "com.twitter.android/"]),
        ("linkedin", "social", ["lnkd.in/abc", "de.linkedin.com/", "com.linkedin.android/"]),
        ("reddit", "social", ["www.reddit.com/", "old.reddit.com/r/python", "out.reddit.com/"]),
        ("youtube", "social", ["youtu.be/abc", "m.youtube.com/watch"]),
        ("pinterest", "social", ["www.pinterest.co.uk/pin/1", "br.pinterest.com/", "www.pinterest.de/"]),
        ("bluesky", "social", ["bsky.app/", "go.bsky.app/redirect"]),
        ("mastodon", "social", ["mastodon.social/@someone", "mastodon.gamedev.place/", "mstdn.jp/", "fosstodon.org/"]),
        ("telegram", "social", ["web.telegram.org/k/", "t.me/s/channel"]),
        ("vk", "social", ["away.vk.com/away.php"]),
        ("hackernews", "social", ["news.ycombinator.com/item"]),
        ("chatgpt", "ai", ["chatgpt.com/", "chat.openai.com/"]),
        ("claude", "ai", ["claude.ai/chat/1"]),
        ("perplexity", "ai", ["www.perplexity.ai/search/1"]),
        ("gemini", "ai", ["gemini.google.com/app", "bard.google.com/"]),
        ("copilot", "ai", ["copilot.microsoft.com/", "edgeservices.bing.com/edgesvc/chat"]),
        ("deepseek", "ai", ["chat.deepseek.com/"]),
        ("mistral", "ai", ["chat.mistral.ai/chat"]),
        ("you", "ai", ["you.com/search"]),
        ("gmail", "email", ["mail.google.com/mail/u/0/", "com.google.android.gm/"]),
        ("outlook", "email", ["outlook.live.com/mail/0/", "eur01.safelinks.protection.outlook.com/"]),
        ("yahoomail", "email", ["mail.yahoo.com/d/folders/1"]),
        ("yandexmail", "email", ["mail.yandex.ru/lite"]),
        ("mailru", "email", ["e.mail.ru/inbox/"]),
        ("web.de", "email", ["deref-web.de/mail/client/1/dereferrer/"]),
        ("webmail.someone.org", "email", ["webmail.someone.org/"]),
        ("wikipedia", "referral", ["en.wikipedia.org/wiki/Web_analytics"]),
        ("googlenews", "referral", ["news.google.com/articles/1"]),
    ],
)
def test_a_listed_referrer_has_its_source_and_channel(source: str, channel: str, referrers: list[str]) -> None:
    for referrer in referrers:
        assert source_and_channel(referrer) == (source, channel), referrer


@pytest.mark.parametrize(
    ("referrer", "source"),
    [
        ("www.stackprinter.com/", "stackprinter.com"),
        ("blog.other.org:8443/post", "blog.other.org"),
        ("192.168.1.10:3000/", "192.168.1.10"),
        ("[2001:db8::1]:8080/", "[2001:db8::1]"),
        ("www.google.com.evil.com/", "google.com.evil.com"),
    ],
)
def test_an_unlisted_referrer_is_its_own_source(referrer: str, source: str) -> None:
    assert source_and_channel(referrer) == (source, "referral")


@pytest.mark.parametrize(
    "hosts",
    [
        # Other services of search engines, then hosts that only resemble listed ones.
        [
            "docs.google.com",
            "tieba.baidu.com",
            "m.blog.naver.com",
            "finance.yahoo.com",
            "nova.rambler.ru",
            "my.mail.ru",
        ],
        ["google.evil.com", "google.blogspot.com", "notgoogle.com", "not-google.co.uk", "google.xyz", "blog.google"],
        ["ask.fm", "netflix.com", "fix.com", "at.co", "foryou.com", "myfacebook.com", "facebook.com.login.example.net"],
        ["mail.python.org", "notexample.com", "localhost"],
    ],
)
def test_a_host_that_only_resembles_a_source_is_a_plain_referral(hosts: list[str]) -> None:
    for host in hosts:
        assert source_and_channel(host + "/") == (host, "referral")


@pytest.mark.parametrize(
    ("referrer", "host", "domain", "source"),
    [
        ("www.example.com/a", HOST, DOMAIN, "own"),
        ("example.com/a", HOST, "", "own"),
        ("www.example.com/a", "example.com", "", "own"),
        ("blog.example.com/a", HOST, "www.example.com", "own"),
        ("shop.example.com/a", "other.net", DOMAIN, "own"),
        ("localhost:8000/a", "localhost:8000", "", "own"),
        ("github.com/a", "github.com", "github.com", "own"),
        ("blog.example.com/a", HOST, "", "blog.example.com"),
        ("example.com/a", "blog.example.com", "blog.example.com", "example.com"),
        ("", "", "", "direct"),
        ("some.org/", "", "", "some.org"),
    ],
)
def test_referrers_from_the_own_site(referrer: str, host: str, domain: str, source: str) -> None:
    assert source_and_channel(referrer, host=host, domain=domain)[0] == source


@pytest.mark.parametrize(
    ("channel", "campaigns"),
    [
        ("paid", {("google", "cpc"): "google", ("fb", "paid_social"): "facebook", ("FB", "Paid-Social"): "facebook"}),
        (
            "paid",
            {("bing", "paidsearch"): "bing", ("linkedin", "social-paid"): "linkedin", ("criteo", "CPM"): "criteo"},
        ),
        (
            "paid",
            {("flyer", "banner"): "flyer", ("flyer", "retargeting"): "flyer", ("newsletter", "cpc"): "newsletter"},
        ),
        ("paid", {("google-ads",): "google", ("fb_ads",): "facebook", ("adwords",): "google"}),
        ("email", {("spring", "email"): "spring", ("spring", "e-mail"): "spring", ("Newsletter",): "newsletter"}),
        ("email", {("weekly-newsletter", "link"): "weekly-newsletter", ("hs_email",): "hs_email", ("gmail",): "gmail"}),
        ("email", {("list-manage.com",): "mailchimp", ("facebook", "email"): "facebook"}),
        ("social", {("someone", "social"): "someone", ("someone", "social_media"): "someone"}),
        ("social", {(" FB ",): "facebook", ("ig", "story"): "instagram", ("Twitter",): "x", ("threads",): "threads"}),
        (
            "social",
            {("Hacker News",): "hackernews", ("linked-in", "post"): "linkedin", ("l.facebook.com",): "facebook"},
        ),
        ("search", {("some engine", "organic"): "some engine", ("google", "", "spring"): "google"}),
        ("search", {("google.de", "link"): "google", ("www.bing.com",): "bing"}),
        ("ai", {("chatgpt.com",): "chatgpt", ("openai",): "chatgpt", ("perplexity", "link"): "perplexity"}),
        ("referral", {("github", "readme"): "github", ("Partner", "referral"): "partner"}),
        ("campaign", {("Partner.example",): "partner.example", ("flyer", "qr", "spring"): "flyer"}),
        # Names that only resemble an advertisement, an e-mail or a listed host.
        ("campaign", {("downloads",): "downloads", ("squads",): "squads", ("daily_mail", "article"): "daily_mail"}),
        ("campaign", {("flyer", "unpaid"): "flyer", ("flyer", "direct-mail"): "flyer", ("flyer", "loading"): "flyer"}),
        ("campaign", {("google.evil.com",): "google.evil.com"}),
    ],
)
def test_a_campaign_determines_source_and_channel(channel: str, campaigns: dict[tuple[str, ...], str]) -> None:
    for campaign, source in campaigns.items():
        assert source_and_channel("", *campaign) == (source, channel), campaign
        assert source_and_channel("news.ycombinator.com/", *campaign) == (source, channel), (
            "the campaign takes precedence over the referrer"
        )


@pytest.mark.parametrize(
    ("referrer", "campaign", "source", "channel"),
    [
        ("www.google.com/", ("", "cpc"), "google", "paid"),
        ("l.facebook.com/", ("", "", "spring"), "facebook", "social"),
        ("some.org/", ("", "", "spring"), "some.org", "campaign"),
        ("some.org/", ("", "referral"), "some.org", "referral"),
        ("github.com/", ("", "", "spring"), "github", "referral"),
        ("", ("", "", "spring"), "direct", "campaign"),
        ("example.com/", ("", "", "spring"), "own", "campaign"),
        ("", ("", "email"), "direct", "email"),
    ],
)
def test_a_campaign_without_a_source_uses_the_referrer(
    referrer: str, campaign: tuple[str, ...], source: str, channel: str
) -> None:
    assert source_and_channel(referrer, *campaign) == (source, channel)


def test_campaign_values_are_stored_as_they_were_sent() -> None:
    campaign = Campaign("FB", "Paid-Social", "Spring", "Left", "shoes")
    assert classify_source("l.facebook.com/l.php", campaign, HOST, DOMAIN) == TrafficSource(
        "l.facebook.com/l.php", "facebook", "paid", "FB", "Paid-Social", "Spring", "Left", "shoes"
    )


def test_the_table_lists_each_name_and_host_once() -> None:
    table = read_table("traffic_sources.toml")
    channels = table["channels"]
    names = [name for sources in channels.values() for source in sources for name in {source, *sources[source]}]
    assert len(names) == len(set(names))
    assert all(name == name.lower() for name in names)
    assert set(channels) <= CHANNELS
    assert {*table["portals"], *table["national"]} <= {source for sources in channels.values() for source in sources}

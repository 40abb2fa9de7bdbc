"""Where a visitor came from: a name for the source, and the channel it belongs to."""

import re
from functools import lru_cache

from ovx_lite.domain.models import Campaign, TrafficSource

# Channel -> source -> what tagged links call it, besides its name (without spaces, dashes and underscores), and its
# hosts. A host stands for its subdomains, too, but see `_PORTALS`. One with a domain in many countries is listed
# under .com alone: see `_COUNTRIES`. An Android app's host is the name of its package.
_SOURCES = {
    "search": {
        "aol": "aol.com",
        "ask": "ask.com",
        "baidu": "baidu.com",
        "bing": "bing.com com.microsoft.bing",
        "brave": "search.brave.com",
        "coccoc": "coccoc.com",
        "daum": "daum.net",
        "duckduckgo": "ddg duckduckgo.com com.duckduckgo.mobile.android",
        "ecosia": "ecosia.org com.ecosia.android",
        "gomail": "go.mail.ru",
        "google": "adwords gbp gmb google.com com.google.android.googlequicksearchbox",
        "kagi": "kagi.com",
        "mojeek": "mojeek.com mojeek.co.uk",
        "naver": "naver.com com.nhn.android.search",
        "qwant": "qwant.com com.qwant.liberty",
        "rambler": "rambler.ru",
        "seznam": "seznam.cz",
        "sogou": "sogou.com",
        "startpage": "startpage.com ixquick.com",
        "yahoo": "yahoo.com",
        "yandex": "yandex.com ya.ru ru.yandex.searchplugin",
    },
    "social": {
        "bluesky": "bsky bsky.app xyz.blueskyweb.app",
        "discord": "discord.com discordapp.com discord.gg com.discord",
        "facebook": "fb meta messenger facebook.com fb.com fb.me messenger.com com.facebook.katana com.facebook.lite"
        " com.facebook.orca",
        "hackernews": "hn ycombinator news.ycombinator.com hn.algolia.com hckrnews.com",
        "instagram": "ig insta instagram.com com.instagram.android",
        "line": "line.me jp.naver.line.android",
        "linkedin": "li linkedin.com lnkd.in com.linkedin.android",
        "lobsters": "lobste.rs",
        "mastodon": "fosstodon.org hachyderm.io infosec.exchange mas.to techhub.social org.joinmastodon.android",
        "odnoklassniki": "ok.ru odnoklassniki.ru ru.ok.android",
        "pinterest": "pinterest.com pin.it com.pinterest",
        "quora": "quora.com com.quora.android",
        "reddit": "reddit.com redd.it com.reddit.frontpage",
        "slack": "slack.com slack-redir.net com.slack",
        "snapchat": "snapchat.com com.snapchat.android",
        "teams": "teams.microsoft.com teams.cloud.microsoft teams.live.com com.microsoft.teams",
        "telegram": "tg t.me telegram.me telegram.org org.telegram.messenger",
        "threads": "threads.com threads.net com.instagram.barcelona",
        "tiktok": "tiktok.com com.zhiliaoapp.musically com.ss.android.ugc.trill",
        "tumblr": "tumblr.com com.tumblr",
        "twitch": "twitch.tv tv.twitch.android.app",
        "vk": "vkontakte vk.com vk.ru vkontakte.ru com.vkontakte.android",
        "wechat": "weixin.qq.com wx.qq.com com.tencent.mm",
        "weibo": "weibo.com weibo.cn t.cn com.sina.weibo",
        "whatsapp": "wa whatsapp.com wa.me com.whatsapp",
        "x": "twitter x.com twitter.com t.co com.twitter.android",
        "xing": "xing.com",
        "youtube": "yt youtube.com youtu.be youtube-nocookie.com com.google.android.youtube",
    },
    "ai": {
        "character": "character.ai c.ai",
        "chatgpt": "openai chatgpt.com openai.com com.openai.chatgpt",
        "claude": "anthropic claude.ai claude.com com.anthropic.claude",
        "copilot": "copilot.microsoft.com copilot.cloud.microsoft m365.cloud.microsoft copilot.com"
        " edgeservices.bing.com com.microsoft.copilot",
        "deepseek": "deepseek.com com.deepseek.chat",
        "duckai": "duck.ai",
        "gemini": "gemini.google.com bard.google.com com.google.android.apps.bard",
        "grok": "grok.com x.ai ai.x.grok",
        "huggingface": "huggingface.co hf.co",
        "kimi": "kimi.com kimi.ai kimi.moonshot.cn",
        "metaai": "meta.ai",
        "mistral": "mistral.ai ai.mistral.chat",
        "notebooklm": "notebooklm.google.com",
        "perplexity": "perplexity.ai pplx.ai ai.perplexity.app.android",
        "phind": "phind.com",
        "poe": "poe.com com.poe.android",
        "qwen": "qwen.ai qwenlm.ai tongyi.aliyun.com",
        "you": "you.com",
    },
    "email": {
        "aolmail": "mail.aol.com",
        "fastmail": "app.fastmail.com",
        "gmail": "mail.google.com gmail.com com.google.android.gm",
        "gmx": "gmx.net gmx.com gmx.de gmx.at gmx.ch deref-gmx.net deref-gmx.com",
        "icloud": "icloud.com",
        "mailchimp": "mailchimp.com list-manage.com campaign-archive.com",
        "mailru": "mail.ru e.mail.ru",
        "navermail": "mail.naver.com",
        "outlook": "outlook.live.com outlook.com outlook.office.com outlook.office365.com outlook.cloud.microsoft"
        " hotmail.com mail.live.com com.microsoft.office.outlook",
        "proton": "mail.proton.me mail.protonmail.com ch.protonmail.android",
        "qqmail": "mail.qq.com",
        "tuta": "app.tuta.com mail.tutanota.com",
        "web.de": "web.de deref-web.de",
        "yahoomail": "mail.yahoo.com com.yahoo.mobile.client.android.mail",
        "yandexmail": "mail.yandex.com",
        "zoho": "mail.zoho.com mail.zoho.eu mail.zoho.in",
    },
    "referral": {
        "github": "github.com",
        "googlenews": "news.google.com com.google.android.apps.magazines",
        "medium": "medium.com",
        "stackoverflow": "stackoverflow.com",
        "substack": "substack.com",
        "wikipedia": "wikipedia.org org.wikipedia",
    },
}

# Every name and host -> its source and channel.
_SOURCE_BY_ALIAS = {
    alias: (source, channel)
    for channel, sources in _SOURCES.items()
    for source, aliases in sources.items()
    for alias in [source, *aliases.split()]
}

# Sources on whose hosts most subdomains are something else (docs.google.com, tieba.baidu.com), and those that are not.
_PORTALS = {"aol", "baidu", "daum", "google", "mailru", "naver", "rambler", "seznam", "sogou", "yahoo", "yandex"}
_SEARCH_SUBDOMAINS = {"cse", "encrypted", "image", "images", "lens", "m", "scholar", "touch", "video"}

# A whole label, and after it nothing but a country's suffix: google.evil.com and notgoogle.com are not Google.
_COUNTRY_DOMAIN = re.compile(
    r"(?:^|(?<=\.))(aol|google|pinterest|yahoo|yandex)\.(?:(?:(?:com?|ne|or)\.)?[a-z]{2}|cat)\Z"
)

_MAX_CACHED_LENGTH = 512  # so that thousands of long referrers do not stay in memory

# These look at a text whose dashes and underscores are spaces.
_PAID = re.compile(r"\bpaid|\b(?:ads?|banners?|cp[acelmv]|display|ppc|remarketing|retargeting|sem)\b")
_EMAIL = re.compile(r"\be ?mail|\bnewsletter|\Amail(?:ing)?s?\Z")
_SOCIAL = re.compile(r"\bsocial|\Asm\Z")


def classify_source(referrer: str, campaign: Campaign, host: str, domain: str) -> TrafficSource:
    """Name where a visitor came from, and the channel; what the campaign says goes before what the referrer says.

    In go the referrer (host and path, `""` for none), the campaign, the host of the page that was visited, and the
    site's own domain (`""` if unknown). Out come the first two as given, the source as a short lower-case name, and
    the channel: direct, search, social, ai, email, paid, own, referral or campaign.
    """
    classify = _classify if len(referrer) + len(host) <= _MAX_CACHED_LENGTH else _classify.__wrapped__
    return classify(referrer, campaign, host, domain)


@lru_cache(maxsize=8192)
def _classify(referrer: str, campaign: Campaign, host: str, domain: str) -> TrafficSource:
    referrer_source = _from_referrer(_bare_host(referrer), _bare_host(host), _bare_host(domain))
    source, channel = _apply_campaign(campaign, *referrer_source) if any(campaign) else referrer_source
    return TrafficSource(referrer, source, channel, *campaign)


def _from_referrer(referrer_host: str, host: str, domain: str) -> tuple[str, str]:
    if not referrer_host:
        return "direct", "direct"
    if referrer_host in (host, domain) or (domain and referrer_host.endswith("." + domain)):
        return "own", "own"
    return _look_up_host(referrer_host) or (referrer_host, "referral")


def _apply_campaign(campaign: Campaign, source: str, channel: str) -> tuple[str, str]:
    """Take the source and channel that the referrer gives; return those that the campaign makes of them."""
    campaign_source = campaign.source.strip().lower()
    medium = re.sub("[-_]", " ", campaign.medium.strip().lower())
    key = re.sub("[-_ ]", "", campaign_source)
    # Those who buy advertisements say "google-ads" or "fb_ads", and often leave the medium out.
    name = key if key in _SOURCE_BY_ALIAS else key.removesuffix("ads")
    is_paid = key == "adwords" or (name != key and name in _SOURCE_BY_ALIAS)
    if campaign_source:
        source, channel = (
            _SOURCE_BY_ALIAS.get(name) or _look_up_host(_bare_host(campaign_source)) or (campaign_source, "")
        )
    if is_paid or _PAID.search(medium):
        return source, "paid"
    if _EMAIL.search(medium) or _EMAIL.search(re.sub("[-_]", " ", campaign_source)):
        return source, "email"
    if _SOCIAL.search(medium):
        return source, "social"
    if medium == "organic":
        return source, "search"
    if channel in ("", "direct", "own") or (channel == "referral" and source not in _SOURCE_BY_ALIAS):
        return source, "referral" if medium == "referral" else "campaign"
    return source, channel


def _look_up_host(host: str) -> tuple[str, str] | None:
    rest = _COUNTRY_DOMAIN.sub(r"\1.com", host)
    subdomains: set[str] = set()
    while "." in rest:
        if match := _SOURCE_BY_ALIAS.get(rest):
            is_other_service = (
                match[0] in _PORTALS and "search" not in subdomains and not subdomains <= _SEARCH_SUBDOMAINS
            )
            return None if is_other_service else match
        label, _, rest = rest.partition(".")
        subdomains.add(label)
    # Mastodon and webmail run on anybody's domain, and are commonly given these names there.
    first_label = host.partition(".")[0]
    if first_label in ("mastodon", "mstdn"):
        return "mastodon", "social"
    return (host, "email") if first_label == "webmail" else None


def _bare_host(text: str) -> str:
    """Take a host, maybe with a port and a path; return it without them and without its "www."."""
    return re.sub(r"\.?(?::\d*)?\Z", "", text.partition("/")[0].lower()).removeprefix("www.")

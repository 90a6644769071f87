"""The Simplified Chinese translation is complete, and the compiled catalogue equals its source."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from accounts.mails import KINDS, send
from tests.catalogues import CHINESE, ROOT, Key, catalogue, compiled, marking, outside_marks, to_translate
from tests.front.serving import program


@pytest.fixture(scope="module")
def messages(tmp_path_factory: pytest.TempPathFactory) -> set[Key]:
    program("msgen", "gettext")
    return to_translate(tmp_path_factory.mktemp("sources"))


def test_every_message_is_translated(messages: set[Key]) -> None:
    translated = catalogue(CHINESE / "django.mo")

    # Chinese has one form for all numbers.
    assert {key for key in messages if not isinstance(key, tuple) or key[1] == 0} - set(translated) == set()


def test_every_translation_has_a_message(messages: set[Key]) -> None:
    assert set(catalogue(CHINESE / "django.mo")) - messages == set()


def test_the_compiled_catalogue_equals_its_source(tmp_path: Path) -> None:
    program("msgfmt", "gettext")

    assert compiled(CHINESE / "django.po", tmp_path / "django.mo") == catalogue(CHINESE / "django.mo")


def test_the_words_of_the_admins_scripts_are_compiled_too(tmp_path: Path) -> None:
    program("msgfmt", "gettext")

    assert compiled(CHINESE / "djangojs.po", tmp_path / "js.mo") == catalogue(CHINESE / "djangojs.mo")


@pytest.mark.parametrize("folder", ["accounts", "authgate", "openid", "ikd_portal"])
def test_translating_functions_have_names_that_makemessages_finds(folder: str) -> None:
    """makemessages finds no message in the call of a function with another name."""
    alias = re.compile(r"import n?p?gettext(?:_lazy)? as (?!_\b)")

    assert [path for path in (ROOT / folder).rglob("*.py") if alias.search(path.read_text())] == []


def test_no_translation_is_fuzzy() -> None:
    assert "#, fuzzy" not in (CHINESE / "django.po").read_text()


@pytest.mark.parametrize("mark", [",", "?", "!", ";", ":", "."])
def test_punctuation_between_chinese_characters_is_full_width(mark: str) -> None:
    halves = re.compile(rf"[\u4e00-\u9fff]{re.escape(mark)}([\u4e00-\u9fff]|\Z)")

    assert [text for text in catalogue(CHINESE / "django.mo").values() if halves.search(text)] == []


@pytest.mark.django_db
@pytest.mark.parametrize("kind", KINDS)
def test_a_mail_is_in_one_language(
    kind: str, settings: object, mailoutbox: list[object], tmp_path: Path
) -> None:
    from django.utils import translation

    settings.LOCALE_PATHS = [marking(tmp_path)]  # type: ignore[attr-defined]
    facts = {"username": "", "address": "192.0.2.1"}

    with translation.override("zh-hans"):
        send(kind, "alice@example.com", facts)

    [mail] = mailoutbox
    html = re.sub(r"(?s)<style>.*?</style>|<!--.*?-->|<[^>]*>", " ", mail.alternatives[0][0])  # type: ignore[attr-defined]
    words = " ".join((mail.subject, mail.body, html))  # type: ignore[attr-defined]
    left = re.sub(r"https?://\S+|ikD Portal|UTC", "", outside_marks(words))
    assert re.findall(r"[A-Za-z]{2,}", left) == []


TERMS = {
    "你": "您",
    "登陆": "登录",
    "注销": "退出登录",
    "登出": "退出登录",
    "帐": "账号",
    "账户": "账号",
    "(?<!用户)组": "用户组",
    "群组": "用户组",
    "双(因|重)|二次验证|二步|验证因素": "两步验证",
    "身份提供[者商]|供应商": "身份提供方",
    "口令": "密码",
    "恢复码": "恢复代码",
    "管理人员|职员": "工作人员",
    "内部(网络|地址)|专用网络|私有": "内网",
    "(?<!授权)范围(?!内)": "授权范围",
    "发行[者方]|颁发": "签发者",
    "(?<!来)源": "来源",
    "解除关联": "取消关联",
    "请求头|头部": "标头",
    "cookie|Cookies": "Cookie",
    r"(?<![\w-])[Tt]oken": "令牌",
    "决定编号": "判定编号",
    "第二因素": "两步验证",
    "后台退出": "后端通道退出",
    "封锁": "紧急锁定",
    "解释": "分析",
}
"""Words that the catalogue avoids, each with the term to use instead."""


@pytest.mark.parametrize("variant", TERMS)
def test_each_thing_has_one_chinese_name(variant: str) -> None:
    found = [text for text in catalogue(CHINESE / "django.mo").values() if re.search(variant, text)]

    assert found == [], TERMS[variant]


CODE = re.compile(r"(?s)```.*?```|`[^`]*`|\]\([^)]*\)")
"""Parts of Markdown in another language: code, and addresses of links."""


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "zh").glob("*.md")), ids=lambda page: page.name)
def test_the_chinese_docs_use_the_terms_of_the_interface(page: Path) -> None:
    text = CODE.sub("", page.read_text(encoding="utf-8"))

    assert {variant: term for variant, term in TERMS.items() if re.search(variant, text)} == {}


PLACEHOLDER = re.compile(r"%\(\w+\)[sd]|%[sd]|\{\w+\}")
DATES = {"j F Y, H:i:s e", "j M Y", "j M, H:i"}


def test_spaces_separate_chinese_from_latin_letters_and_digits() -> None:
    joined = re.compile(r"[\u4e00-\u9fff][A-Za-z0-9]|[A-Za-z0-9][\u4e00-\u9fff]")

    assert {
        key
        for key, text in catalogue(CHINESE / "django.mo").items()
        if key not in DATES and joined.search(PLACEHOLDER.sub("", text))
    } == set()


def test_punctuation_beside_chinese_is_full_width() -> None:
    halves = re.compile(r"[\u4e00-\u9fff][,.;:!?()\"']|[,;:!?()\"'][\u4e00-\u9fff]|[，。；：！？（）“”、] ")  # noqa: RUF001

    assert [text for text in catalogue(CHINESE / "django.mo").values() if halves.search(text)] == []


def test_a_translation_ends_with_punctuation_exactly_if_the_message_does() -> None:
    assert {
        key
        for key, text in catalogue(CHINESE / "django.mo").items()
        if text and (str(key[0] if isinstance(key, tuple) else key)[-1] in ".?:") != (text[-1] in "。？：")  # noqa: RUF001
    } == set()

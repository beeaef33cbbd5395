# ruff: noqa: RUF001 (letters of many alphabets)
"""Encodings: which one a text has that is not UTF-8, judged by the words that each one reads."""

import contextlib
import re
from itertools import pairwise

from affinity.errors import InputError

WESTERN = (
    *("äöüß", "àâæçéèêëîïôœùûüÿ", "áéíñóúüªº", "áàâãçéêíóôõúü", "àèéìíòóùú", "éèëïöü"),
    *("åäæéöøü", "åäöšž", "áæéíðóöþúý"),
)
CENTRAL = ("ąćęłńóśźż", "áčďéěíňóřšťúůýž", "áéíóöőúüű", "čćđšž", "äöüß")
CYRILLIC = ("абвгдежзийклмнопрстуфхцчшщъыьэюяё", "абвгґдежзийклмнопрстуфхцчшщьюяєії")
ALPHABETS = {
    "cp1252": WESTERN,
    "iso8859_15": WESTERN,
    "cp1250": (*CENTRAL, "áäčďéíĺľňóôŕšťúýž", "ăâîşţ"),
    "iso8859_2": CENTRAL,
    "cp1254": ("çğıiöşüâîû",),
    "cp1257": ("āčēģīķļņšūž", "ąčęėįšųūž", "äõöüšž"),
    "mac_roman": WESTERN,
    "cp850": WESTERN,
    "cp1251": CYRILLIC,
    "koi8_r": CYRILLIC[:1],
    "cp866": CYRILLIC[:1],
    "iso8859_5": CYRILLIC[:1],
    "mac_cyrillic": CYRILLIC,
    "cp1253": ("αβγδεζηθικλμνξοπρσςτυφχψωάέήίόύώϊϋ",),
    "cp1255": ("אבגדהוזחטיךכלםמןנסעףפץצקרשת",),
    "cp1256": ("ءآأؤإئابةتثجحخدذرزسشصضطظعغفقكلمنهوىيپچژگ",),
}
"""The letters beyond ASCII of the languages that are written in an encoding of single bytes."""
COMMON = {
    "cp932": ("shift_jis", r"[\x82\x83\x88-\x97]."),
    "euc_jp": ("euc_jp", r"[\xa4\xa5\xb0-\xcf]."),
    "gb18030": ("gb2312", r"[\xb0-\xd7]."),
    "big5": ("big5", r"[\xa4-\xc6]."),
    "cp949": ("euc_kr", r"[\xb0-\xc8]."),
}
"""Encodings of several bytes: the standard they extend, and the bytes of its common characters."""
SYMBOLS = "€£¥§©®°±²³µ·×«»“”‘’„–—…•™‰№½¿¡\xa0"  # signs that tables have besides letters
_LATIN = tuple(ALPHABETS)[:8]
_WORD = re.compile(r"[^\W\d_]*[^\x00-\x7f\W\d_][^\W\d_]*")


def find_encoding(data: bytes) -> tuple[str, str]:
    """The encoding of a text that is not UTF-8, and a word that it reads; else an error.

    An encoding is likely if all words have the letters of one language (or else of several that
    are written in it) and no capital after a small letter; for Chinese, Japanese and Korean, if
    most characters are common ones. Detectors of prose, such as charset-normalizer, are often
    wrong on the few short words of a table.
    """
    lines = [line for line in data.splitlines() if not line.isascii()]
    cells = {cell for line in lines for cell in re.split(rb'[,;\t"]', line) if not cell.isascii()}
    joined = b"\n".join(sorted(cells))
    texts: list[tuple[str, str]] = []
    for encoding in (*ALPHABETS, *COMMON):
        with contextlib.suppress(UnicodeDecodeError):
            texts.append((joined.decode(encoding), encoding))
    readings: dict[str, str] = {}
    for n_languages in (1, None):
        for text, encoding in () if readings else texts:
            if _is_likely(text, encoding, n_languages):
                readings.setdefault(text, encoding)
    if len(readings) == 1:
        text, encoding = readings.popitem()
        first = lines[0].decode(encoding)
        return encoding, (re.findall(r"\w*[^\x00-\x7f]\w*", first) or text.split())[0]
    shown = ", ".join(
        f"{encoding} (which reads {text.splitlines()[0].strip()!r})"
        for text, encoding in readings.items()
    )
    found = f"but it may be {shown}" if readings else "but it is in another encoding"
    raise InputError(
        f"Expected text in UTF-8, {found}. Say which, as in --encoding "
        f"{next(iter(readings.values()), 'cp1252')} (encoding= of ReadingOptions in Python).",
        "unknown-encoding",
    )


def _is_likely(text: str, encoding: str, n_languages: int | None) -> bool:
    """Whether words in one language of the encoding are read, or in any number of them."""
    signs = {sign for sign in text if not sign.isascii()}
    if encoding in COMMON:
        standard, common = COMMON[encoding]
        letters = [sign for sign in text if sign.isalpha() and not sign.isascii()]
        codes = [sign.encode(standard, "ignore").decode("latin-1") for sign in letters]
        n_common = sum(bool(re.fullmatch(common, code, re.S)) for code in codes)
        has_kana = any("\u3040" <= sign < "\u3100" for sign in signs)
        return (
            n_common > 0.8 * len(letters)
            and (encoding != "euc_jp" or has_kana)
            and not re.search(r"[a-z][^\x00-\x7f]|[^\x00-\x7f][a-z]", text)
        )
    letters = {sign.lower()[0] for sign in signs - set(SYMBOLS)}
    alphabets = ALPHABETS[encoding] if n_languages else ("".join(ALPHABETS[encoding]),)
    if not any(letters <= set(alphabet) for alphabet in alphabets):
        return False
    if re.search(rf"[^\W\d_](?![’·])[{SYMBOLS}]+[^\W\d_]|\d ?§", text.replace("\xa0", " ")):
        return False
    words = [word for word in _WORD.findall(text) if word not in SYMBOLS]
    if any(a.islower() and b.isupper() for word in words for a, b in pairwise(word)):
        return False
    if encoding in _LATIN:
        return all(len(word) > 1 or word.lower() in "àáåæèéíóôöøü" for word in words)
    return max(map(len, words), default=0) > 1 and not re.search("[A-Za-z]", "".join(words))

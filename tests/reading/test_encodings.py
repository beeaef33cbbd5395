# ruff: noqa: RUF001
"""The encoding of a text is found, or refused where several are likely; it is never wrong."""

import pytest
from codes import raises

from affinity.reading.encodings import find_encoding
from affinity.reading.options import ReadingOptions
from affinity.reading.source import read_source

WORDS = {
    "ru": ("город,Москва,Казань,Уфа", ["cp1251", "koi8_r", "cp866"]),
    "ja": ("都市,東京,大阪,カナガワ", ["cp932"]),
    "zh": ("城市,北京,上海,广州,深圳", ["gb18030"]),
    "zh-TW": ("城市,臺北,高雄,臺中", ["big5"]),
    "ko": ("도시,서울,부산", ["cp949"]),
    "el": ("πόλη,Αθήνα,Πάτρα", ["cp1253"]),
    "de": ("straße,München,Köln", ["cp1252", "cp850", "mac_roman"]),
    "de, fr": ("Müller,Größe,é", ["cp1252", "mac_roman"]),
    "fr": ("ville,mère à Orléans,Nîmes", ["cp1252", "iso8859_15"]),
    "es": ("año,La Coruña,Málaga", ["cp1252"]),
    "es short": ("año,2001", ["cp1252"]),
    "da": ("køn,Århus,Nørrebro", ["cp1252"]),
    "pl": ("miasto,Łódź,Gdańsk,Kraków", ["cp1250", "iso8859_2"]),
    "cs": ("město,Příbram,Plzeň", ["cp1250"]),
    "tr": ("şehir,İstanbul,Muğla", ["cp1254"]),
    "euro": ("price,5 €,12 €", ["cp1252", "iso8859_15"]),
    "pound": ("price,£5,£ 12", ["cp1252"]),
    "units": ("size (µm),25 °C,m²", ["cp1252", "iso8859_15"]),
}
REFUSED = {("es short", "cp1252"), ("tr", "cp1254"), ("ko", "cp949")}
"""Other encodings read likely words, too."""


@pytest.mark.parametrize("language", WORDS)
def test_an_encoding_is_found_or_refused(language):
    words, encodings = WORDS[language]
    for encoding in encodings:
        data = words.replace(",", "\n").encode(encoding)
        if (language, encoding) in REFUSED:
            with raises("unknown-encoding"):
                find_encoding(data)
        else:
            assert data.decode(find_encoding(data)[0]) == words.replace(",", "\n")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "cp1251"])
def test_names_and_categories_are_read_in_their_encoding(tmp_path, encoding):
    path = tmp_path / "t.csv"
    path.write_bytes("город,b\nМосква,1\nУфа,2\n".encode(encoding))
    for options in (None, ReadingOptions(encoding=encoding)):
        frame = read_source(path, options).frame
        assert frame["город"].tolist() == ["Москва", "Уфа"]

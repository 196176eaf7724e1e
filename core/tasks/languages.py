"""The languages whisper knows, as `whisper.cpp` numbers them (`g_lang`): code and English name."""

from __future__ import annotations

import re
from typing import Final

LANGUAGES: Final[dict[str, str]] = dict(
    re.findall(
        r"(\w+):(\w+)",
        "en:english zh:chinese de:german es:spanish ru:russian ko:korean fr:french ja:japanese pt:portuguese "
        "tr:turkish pl:polish ca:catalan nl:dutch ar:arabic sv:swedish it:italian id:indonesian hi:hindi fi:finnish "
        "vi:vietnamese he:hebrew uk:ukrainian el:greek ms:malay cs:czech ro:romanian da:danish hu:hungarian ta:tamil "
        "no:norwegian th:thai ur:urdu hr:croatian bg:bulgarian lt:lithuanian la:latin mi:maori ml:malayalam cy:welsh "
        "sk:slovak te:telugu fa:persian lv:latvian bn:bengali sr:serbian az:azerbaijani sl:slovenian kn:kannada "
        "et:estonian mk:macedonian br:breton eu:basque is:icelandic hy:armenian ne:nepali mn:mongolian bs:bosnian "
        "kk:kazakh sq:albanian sw:swahili gl:galician mr:marathi pa:punjabi si:sinhala km:khmer sn:shona yo:yoruba "
        "so:somali af:afrikaans oc:occitan ka:georgian be:belarusian tg:tajik sd:sindhi gu:gujarati am:amharic "
        "yi:yiddish lo:lao uz:uzbek fo:faroese ht:haitian_creole ps:pashto tk:turkmen nn:nynorsk mt:maltese "
        "sa:sanskrit lb:luxembourgish my:myanmar bo:tibetan tl:tagalog mg:malagasy as:assamese tt:tatar haw:hawaiian "
        "ln:lingala ha:hausa ba:bashkir jw:javanese su:sundanese yue:cantonese",
    )
)
"""Code to name."""
_CODES: Final = {name.replace("_", " "): code for code, name in LANGUAGES.items()}


def find_code(language: str) -> str | None:
    """The code of a language given by code or English name; None where whisper knows none such."""
    asked = language.strip().lower()
    return asked if asked in LANGUAGES else _CODES.get(asked)


def name_of(code: str) -> str:
    """The English name of a language; its code where no name is known."""
    return LANGUAGES.get(code, code).replace("_", " ")

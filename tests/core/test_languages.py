import pytest

from xopt.compile.scripts import SCRIPTS, read_languages, scripts_for
from xopt.errors import InputError
from xopt.languages import MORE_NAMES, NAMES, check_languages, language_name, to_iso1


def test_forty_languages_of_xtreme_and_those_of_xlm_r() -> None:
    assert len(NAMES) == 40
    assert set(NAMES | MORE_NAMES) == set(SCRIPTS)


# As CLDR's aliases say it (langcodes 3.5, macrolanguages on), but that its "nb" is "no" here and
# its "fil" is XTREME's "tl".
@pytest.mark.parametrize(
    ("code", "one"),
    [
        ("swh", "sw"), ("deu", "de"), ("ger", "de"), ("cmn", "zh"), ("zho", "zh"), ("ara", "ar"),
        ("arb", "ar"), ("fas", "fa"), ("pes", "fa"), ("ekk", "et"), ("lvs", "lv"), ("amh", "am"),
        ("iw", "he"), ("in", "id"), ("ji", "yi"), ("nb", "no"), ("fil", "tl"), ("EN", "en"),
        ("pt_BR", "pt"), ("pt-br", "pt"), ("es-419", "es"), ("zh_hant_TW", "zh-Hant"),
        ("srp_latn", "sr-Latn"), ("bo", "bo"), ("my-data", "my-data"), ("und", "und"), ("", ""),
    ],
)  # fmt: skip
def test_a_code_has_one_spelling(code: str, one: str) -> None:
    assert to_iso1(code) == one


def test_names_of_languages() -> None:
    names = [language_name(code) for code in ("km", "tgl", "sr-Latn", "bo")]
    assert names == ["Khmer", "Tagalog", "Serbian in Latn", "bo"]


def test_a_language_is_found_by_any_of_its_codes() -> None:
    asked = ["sw", "deu", "pt_BR", "iw"]
    assert check_languages(asked, ["swh", "deu", "por", "heb"], where="x") == [
        "swh", "deu", "por", "heb",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "message", "hint"),
    [
        ("dee", "Unknown language 'dee' for tatoeba", "Did you mean 'deu'?"),
        ("German", "'German'", "Did you mean 'deu'?"),
        ("swahilli", "'swahilli'", "Did you mean 'swh'?"),
        ("zh-Hant", r"There is no Chinese in Hant \(zh-Hant\)", "Did you mean 'cmn'?"),
        # Two letters are always near to two others, which are of another language.
        ("bo", "'bo'", "Possible: cmn, deu, swh."),
        ("km", r"Khmer \(km\)", "Possible: cmn, deu, swh."),
        ("fil", r"Tagalog \(fil\)", "Possible: cmn, deu, swh."),
    ],
)
def test_an_unknown_language_is_named(asked: str, message: str, hint: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        check_languages([asked], ["deu", "swh", "cmn"], where="tatoeba")
    assert caught.value.hint.startswith(hint)


def test_a_script_stays_where_it_is_not_the_usual_one() -> None:
    codes = read_languages("zh-Hant, ru_Cyrl,sr,sr-Latn,uz-Cyrl,ja-Jpan,iw,SWH,sw")
    assert codes == ["zh", "ru", "sr", "sr-Latn", "uz-Cyrl", "ja", "he", "sw"]
    assert [scripts_for(code) for code in codes[2:5]] == [
        ("Cyrillic", "Latin"), ("Latin",), ("Cyrillic",),
    ]  # fmt: skip

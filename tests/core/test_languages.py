import pytest

from xopt.errors import InputError
from xopt.languages import ISO3, NAMES, check_languages


def test_forty_languages_in_both_codes() -> None:
    assert len(NAMES) == 40
    assert sorted(ISO3.values()) == sorted(NAMES)


def test_two_and_three_letters_find_the_same() -> None:
    assert check_languages(["sw", "deu"], ["swh", "deu"], where="x") == ["swh", "deu"]


def test_an_unknown_language_gets_a_suggestion() -> None:
    with pytest.raises(InputError, match="Unknown language 'dee'") as caught:
        check_languages(["dee"], ["deu", "swh"], where="tatoeba")
    assert "Did you mean 'deu'?" in caught.value.hint

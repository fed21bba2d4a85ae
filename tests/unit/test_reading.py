"""What is written short is read as words, and nothing of a long text is lost."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.espeak import Clause
from workers.lib.reading import english, is_speakable, pieces, spell
from workers.lib.reading.numbers import cardinal, decimal, ordinal, year
from workers.models import kokoro


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0", "zero"),
        ("000", "zero"),
        ("13", "thirteen"),
        ("40", "forty"),
        ("99", "ninety nine"),
        ("100", "one hundred"),
        ("1250", "one thousand two hundred fifty"),
        ("1000000", "one million"),
        ("2000017", "two million seventeen"),
        ("9" * 19, "nine nine nine, nine nine nine, nine nine nine, nine nine nine, nine nine nine, nine nine nine, nine"),
    ],
)
def test_cardinals(text: str, words: str) -> None:
    assert cardinal(text) == words


def test_ordinals_years_and_decimals() -> None:
    assert [ordinal(number) for number in ("1", "2", "3", "8", "12", "20", "21", "100")] == [
        *("first", "second", "third", "eighth", "twelfth", "twentieth", "twenty first", "one hundredth"),
    ]
    assert [year(number) for number in ("1900", "1905", "1999", "2000", "2005", "2024")] == [
        *("nineteen hundred", "nineteen oh five", "nineteen ninety nine", "two thousand", "two thousand five", "twenty twenty four"),
    ]
    assert decimal("3", "14") == "three point one four"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The train leaves at 9:45.", "The train leaves at nine forty five."),
        ("at 7 p.m. and at 12:05am", "at seven PM and at twelve oh five AM"),
        ("We met at 7 p.m. He left.", "We met at seven PM. He left."),
        ("On March 3, 2024, we met.", "On March third, twenty twenty four, we met."),
        ("on 3 March 1999", "on the third of March nineteen ninety nine"),
        ("2024-03-04", "March fourth, twenty twenty four"),
        ("3/4/2024", "March fourth, twenty twenty four"),
        (
            "$12.50, £1.01, €5 and $3.2 billion",
            "twelve dollars and fifty cents, one pound and one penny, five euros and three point two billion dollars",
        ),
        ("1,250 people in 1250", "one thousand two hundred fifty people in twelve fifty"),
        ("7.5% of 3 kg at -5 °C", "seven point five percent of three kilograms at minus five degrees Celsius"),
        ("Dr. Miller, 24 Green St. near the park", "Doctor Miller, twenty four Green Street near the park"),
        ("St. Mary's on Main St. He left.", "Saint Mary's on Main Street. He left."),
        ("e.g. the 2nd, the 21st and the 1990s", "for example the second, the twenty first and the nineteen nineties"),
        ("2-3 hrs, 1/2 or 3/4", "two to three hours, one half or three quarters"),
        ("call 555-1234", "call five five five, one two three four"),
        ("version 10.5.3 of A4", "version ten dot five dot three of A four"),
        ("World War II", "World War two"),
        ("joe@example.org", "joe at example dot org"),
        ("Tom & Ann #5 😀", "Tom and Ann number five grinning face"),
    ],
)
def test_english(text: str, words: str) -> None:
    assert spell(text, "en-US") == words


def test_the_day_comes_first_in_britain() -> None:
    assert spell("3/4/2024", "en-GB") == "April third, twenty twenty four"


@pytest.mark.parametrize(
    ("language", "text", "words"),
    [
        ("de-DE", "Am 3. März 2024, im 2. Quartal", "Am dritten März 2024, im zweiten Quartal"),
        ("de-DE", "Die Karte kostet 12,50 € (d. h. viel)", "Die Karte kostet 12 Euro 50 (das heißt viel)"),
        ("de-DE", "seit 1995, am 1.5.2024", "seit 19hundert 95, am ersten Mai 2024"),
        ("de-DE", "um 9:45 Uhr, um 17:00 Uhr, um 8:30", "um 9 Uhr 45, um 17 Uhr, um 8:30"),
        ("de-DE", "Er ist 24. Der Turm ist 324 m hoch.", "Er ist 24. Der Turm ist 324 Meter hoch."),
        ("es-ES", "La Dra. García pagó 1 € y 12,50 €.", "La doctora García pagó 1 euro y 12 euros con 50."),
        ("es-ES", "el 1/5/2024, 3 kg", "el 1 de mayo de 2024, 3 kilogramos"),
        ("fr-FR", "M. Dupont part à 9 h 45, le 01/05/2024", "monsieur Dupont part à 9 heures 45, le premier mai 2024"),
        ("fr-FR", "au 2e trimestre, 1\u202f250 €", "au deuxième trimestre, 1 250 euros"),
        ("it-IT", "Il Sig. Bianchi paga 12,50 € per 3 kg.", "Il signor Bianchi paga 12 euro e 50 per 3 chilogrammi."),
        ("it-IT", "ecc.", "eccetera."),
    ],
)
def test_other_languages(language: str, text: str, words: str) -> None:
    assert spell(text, language) == words


@given(st.text(max_size=400))
def test_english_leaves_no_digit(text: str) -> None:
    assert not any("0" <= character <= "9" for character in english.spell(text))


@pytest.mark.parametrize("unit", ["9", "1,", "1.", "111 ", "$1", "A ", "www.", "0-", "12/", "a@a.", "3. ", "Ab. ", "1:"])
@pytest.mark.parametrize("language", ["en-US", "de-DE", "fr-FR"])
def test_the_time_is_bounded(unit: str, language: str) -> None:
    """5,000 characters that come near every pattern."""
    began = time.process_time()
    spell(pieces.loosen((unit * 5000)[:5000]), language)
    assert time.process_time() - began < 2


def test_sentences() -> None:
    text = 'He came. "Did he?" she asked. J. Smith said no… Yes!\n\nNew paragraph: 3.5 apples. and more.'
    assert pieces.sentences(text) == [
        *("He came.", '"Did he?" she asked.', "J. Smith said no…", "Yes!", "New paragraph: 3.5 apples. and more."),
    ]
    assert pieces.sentences("Hello. ... — ! There.") == ["Hello.", "There."]


@given(st.text(alphabet="ab .,!?;\n", max_size=300))
def test_no_letter_is_lost_between_sentences(text: str) -> None:
    together = "".join(pieces.sentences(text))
    assert [letter for letter in together if letter.isalpha()] == [letter for letter in text if letter.isalpha()]


@given(st.text(alphabet="ab ,.", max_size=500), st.integers(5, 60), st.integers(3, 20))
def test_pieces_are_short_and_complete(phonemes: str, most: int, first: int) -> None:
    found = list(pieces.cut(phonemes, most, first))
    assert "".join("".join(found).split()) == "".join(phonemes.split())
    assert all(0 < len(piece) <= most for piece in found[1:])
    assert all(len(piece) <= first for piece in found[:1])


def test_pieces_end_where_one_breathes() -> None:
    assert list(pieces.cut("one two, three four five", 12)) == ["one two,", "three four", "five"]
    assert list(pieces.cut("abcdefgh", 3)) == ["abc", "def", "gh"]


def test_runs_are_taken_apart() -> None:
    assert pieces.loosen("9" * 16) == "9 9 9, 9 9 9, 9 9 9, 9 9 9, 9 9 9, 9"
    assert pieces.loosen("x x x x x") == "x x x, x x"
    assert pieces.loosen("sooo good, 123456789012345") == "sooo good, 123456789012345"
    assert pieces.loosen("ab" * 40) == "ab" * 30 + " " + "ab" * 10


@pytest.mark.parametrize("text", ["a", "7", "%", "€", "日", "😀", "٣"])
def test_what_can_be_said(text: str) -> None:
    assert is_speakable(text)


@pytest.mark.parametrize("text", ["", "...", "—", "①②", "\u0301", "()", "\ud800", "\u200d"])
def test_what_cannot(text: str) -> None:
    assert not is_speakable(text)


def test_a_german_r_after_a_vowel_is_spoken_as_one() -> None:
    """As eSpeak NG writes Ort, Nachbarn, Fahrräder, Brot and repariert."""
    clauses = [Clause("ˈɔɾt nˈaxbaɾn fˈɑːrɛːdɜ bɾˈoːt rˌeːparˈiːɾt", ".")]
    assert kokoro.from_espeak(clauses, german=True) == "ˈɔɐt nˈaxbaɐn fˈɑːʁɛːdɐ bʁˈoːt ʁˌeːpaʁˈiːɐt."
    assert kokoro.from_espeak([Clause("mˈɛɾ", ".")]) == "mˈɛɾ."

from __future__ import annotations

import datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trio_projectx.market.stamps import StampError, StampParser, StampRangeError, format_stamp, parse_stamp

FIRST = -9_214_560_000_000_000_000  # 1678-01-01T00:00Z
LAST = 9_214_646_399_999_999_999  # 2261-12-31T23:59:59.999999999Z
STAMPS = st.integers(FIRST + 86_400_000_000_000, LAST - 86_400_000_000_000)
ZONES = st.builds(
    lambda sign, h, m: f"{sign}{h:02}:{m:02}", st.sampled_from("+-"), st.integers(0, 23), st.integers(0, 59)
)

GOOD = [
    ("1970-01-01T00:00:00Z", 0),
    ("1970-01-01T00:00:00+00:00", 0),
    ("1970-01-01T00:00:00-00:00", 0),
    ("1970-01-01T00:00:00.000000001Z", 1),
    ("1969-12-31T23:59:59.999999999Z", -1),
    ("2026-08-19T20:51:31.4347534+00:00", 1_787_172_691_434_753_400),
    ("2026-08-19T20:51:30.052+00:00", 1_787_172_690_052_000_000),
    ("2026-08-19T20:51:00+00:00", 1_787_172_660_000_000_000),
    ("2026-08-19T15:51:30.052-05:00", 1_787_172_690_052_000_000),
    ("2026-08-20T02:21:30.052+05:30", 1_787_172_690_052_000_000),
    ("2026-08-19T20:51:30.05200Z", 1_787_172_690_052_000_000),
    ("2026-08-19T20:51:30.611387+00:00", 1_787_172_690_611_387_000),
    ("2024-02-29T00:00:00Z", 1_709_164_800_000_000_000),
    ("1678-01-01T00:00:00Z", FIRST),
    ("2261-12-31T23:59:59.999999999Z", LAST),
    ("2261-12-31T23:59:59.999999999-23:59", LAST + (23 * 60 + 59) * 60 * 10**9),
    ("1678-01-01T00:00:00+23:59", FIRST - (23 * 60 + 59) * 60 * 10**9),
]

BAD_FORM = [
    "",
    " ",
    "Z",
    "+00:00",
    "2026-08-19",
    "2026-08-19Z",
    "2026-08-19T20:51:31",
    "2026-08-19T20:51:31.052",
    "2026-08-19T20:51Z",
    "2026-08-19 20:51:31Z",
    "2026-08-19t20:51:31Z",
    "2026-08-19T20:51:31z",
    "2026-08-19T20:51:31 Z",
    " 2026-08-19T20:51:31Z",
    "2026-08-19T20:51:31Z ",
    "2026-08-19T20:51:31Z\n",
    "2026-08-19T20:51:31.Z",
    "2026-08-19T20:51:31,052Z",
    "2026-08-19T20:51:31.1234567890Z",
    "2026-08-19T20:51:31.+12+00:00",
    "2026-08-19T20:51:31.1_2+00:00",
    "2026-08-19T20:51:31.-12+00:00",
    "2026-08-19T20:51:31. 12+00:00",
    "2026-08-19T20:51:31.12 +00:00",
    "2026-08-19T20:51:31.+00:00",
    "2026-08-19T20:51:31.1234567891+00:00",
    "2026-08-19T20:51:31.\u0661\u0662\u0663+00:00",
    "2026-08-19T20:51:31.\u00b2\u00b2+00:00",
    "2026-08-19T20:51:31.\uff11\uff12+00:00",
    "\u0662\u0660\u0662\u0666-08-19T20:51:31Z",
    "2026-08-19T20:51:31+0000",
    "2026-08-19T20:51:31+00",
    "2026-08-19T20:51:31+24:00",
    "2026-08-19T20:51:31+00:60",
    "2026-08-19T20:51:31\u221205:00",
    "2026-08-19T20:51:31UTC",
    "2026-08-19T20:51:31+00:00Z",
    "2026-02-30T00:00:00Z",
    "2025-02-29T00:00:00Z",
    "2026-13-01T00:00:00Z",
    "2026-00-01T00:00:00Z",
    "2026-01-00T00:00:00Z",
    "2026-08-19T24:00:00Z",
    "2026-08-19T23:60:00Z",
    "2026-08-19T23:59:60Z",
    "0000-01-01T00:00:00Z",
    "26-08-19T20:51:31Z",
    "+2026-08-19T20:51:31Z",
    "2026-W34-3T20:51:31Z",
    "1787172691434",
    "1e18",
    "2026-08-19T20:51:31\x00Z",
    "x" * 1_000_000,
]

BAD_RANGE = [
    "0001-01-01T00:00:00Z",
    "1601-01-01T00:00:00Z",
    "1677-12-31T23:59:59Z",
    "2262-01-01T00:00:00Z",
    "2999-01-01T00:00:00+00:00",
    "9999-12-31T23:59:59.9999999Z",
]


def parsers() -> list[StampParser]:
    """A new parser, and one that knows both halves of every good stamp already."""
    warm = StampParser()
    for text, _ in GOOD:
        warm.parse(text)
    return [StampParser(), warm]


@pytest.mark.parametrize(("text", "ns"), GOOD)
def test_good_stamps_are_exact(text: str, ns: int) -> None:
    assert parse_stamp(text) == ns
    for parser in parsers():
        assert parser.parse(text) == ns
        assert parser.parse(text) == ns


@pytest.mark.parametrize("text", BAD_FORM)
def test_bad_forms_are_refused_in_words_that_can_be_printed(text: str) -> None:
    for parse in (parse_stamp, *(p.parse for p in parsers())):
        with pytest.raises(StampError) as caught:
            parse(text)
        assert not isinstance(caught.value, StampRangeError)
        assert str(caught.value).isprintable()
        assert str(caught.value).isascii()
        assert len(str(caught.value)) < 200


@pytest.mark.parametrize("text", BAD_RANGE)
def test_years_that_int64_does_not_hold_are_told_apart(text: str) -> None:
    for parse in (parse_stamp, *(p.parse for p in parsers())):
        with pytest.raises(StampRangeError):
            parse(text)


def test_a_stamp_error_is_a_value_error() -> None:
    assert issubclass(StampRangeError, StampError)
    assert issubclass(StampError, ValueError)


@given(ns=STAMPS, zone=ZONES | st.just("Z"))
@example(ns=0, zone="Z")
@example(ns=-1, zone="+05:30")
def test_nine_digits_come_back_in_every_zone(ns: int, zone: str) -> None:
    text = format_stamp(ns, 9, zone)
    assert parse_stamp(text) == ns
    assert StampParser().parse(text) == ns


@given(ns=STAMPS, digits=st.integers(0, 9), trim=st.booleans())
def test_fewer_digits_cut_off_and_never_round(ns: int, digits: int, trim: bool) -> None:
    text = format_stamp(ns, digits, trim=trim)
    unit = 10 ** (9 - digits)
    assert parse_stamp(text) == ns - ns % unit
    fraction = text[20:-6]
    assert not trim or not fraction.endswith("0")
    assert trim or len(fraction) == digits


@given(moment=st.datetimes(datetime.datetime(1678, 1, 2), datetime.datetime(2261, 12, 30)), zone=ZONES)
def test_the_calendar_is_that_of_the_standard_library(moment: datetime.datetime, zone: str) -> None:
    text = moment.isoformat(timespec="microseconds") + zone
    delta = datetime.datetime.fromisoformat(text) - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    assert parse_stamp(text) == delta // datetime.timedelta(microseconds=1) * 1000


@given(
    st.lists(
        st.one_of(
            st.sampled_from([text for text, _ in GOOD] + BAD_FORM[:-1] + BAD_RANGE),
            st.text("0123456789-:.TZ+ e\u0663", max_size=36),
            st.from_regex(r"\A2026-08-19T20:51:3[0-9](\.[0-9]{0,10})?(Z|[+-][0-2][0-9]:[0-6][0-9])\Z"),
        ),
        max_size=30,
    )
)
def test_the_memory_of_the_parser_changes_no_answer(texts: list[str]) -> None:
    parser = StampParser()

    def outcome(parse: object, text: str) -> int | type[StampError]:
        try:
            return parse(text)  # type: ignore[operator, no-any-return]
        except StampError as exc:
            return type(exc)

    for text in texts:
        assert outcome(parser.parse, text) == outcome(parse_stamp, text)


def test_the_memory_is_bounded() -> None:
    parser = StampParser()
    for second in range(3_000):
        parser.parse(format_stamp(second * 10**9))
    for milli in range(1000):
        for zone in ("Z", "+00:00", "+01:00", "-05:00", "+02:00", "+03:00"):
            parser.parse(format_stamp(milli * 10**6, 3, zone))
    for tick in range(5_000):
        parser.parse(format_stamp(tick * 100, 7))
    assert 0 < len(parser.heads) <= 256
    assert 0 < len(parser.tails) <= 4096
    assert all(len(tail) <= 10 for tail in parser.tails)


@pytest.mark.parametrize("ns", [FIRST - 1, LAST + 1, 10**30, -(10**30)])
def test_what_cannot_be_read_again_is_not_written(ns: int) -> None:
    with pytest.raises(StampRangeError):
        format_stamp(ns)


@pytest.mark.parametrize("zone", ["", "+0000", "UTC", ".5Z", "z"])
def test_a_zone_of_another_form_is_not_written(zone: str) -> None:
    with pytest.raises(StampError):
        format_stamp(0, zone=zone)


@pytest.mark.parametrize("digits", [-1, 10])
def test_more_than_nine_digits_are_not_written(digits: int) -> None:
    with pytest.raises(ValueError, match="digits"):
        format_stamp(0, digits)


def test_the_forms_of_the_live_wire_are_written() -> None:
    assert format_stamp(1_787_172_690_052_000_000) == "2026-08-19T20:51:30.052+00:00"
    assert format_stamp(1_787_172_691_434_753_400, 7) == "2026-08-19T20:51:31.4347534+00:00"
    assert format_stamp(1_787_172_691_430_000_000, 7, "Z", trim=True) == "2026-08-19T20:51:31.43Z"
    assert format_stamp(1_787_172_691_000_000_000, 7, trim=True) == "2026-08-19T20:51:31+00:00"

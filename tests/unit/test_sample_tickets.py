"""The sample tickets: enough, varied, distinct, invented."""

import re
from collections import Counter

from embedded.tickets import sample_tickets, sample_tickets_path
from jobs.kinds.summarise_ticket import Ticket, render

TICKETS = list(sample_tickets())


def test_two_hundred_distinct_tickets() -> None:
    assert len(TICKETS) == 200
    for field in ("id", "subject", "body"):
        assert len({ticket[field] for ticket in TICKETS}) == 200, field
    assert sample_tickets_path().stat().st_size < 700_000


def test_every_ticket_fits_its_kind_and_keeps_its_other_fields() -> None:
    for raw in TICKETS:
        ticket = Ticket.model_validate(raw)
        assert {"channel", "tags", "requester"} <= set(ticket.model_extra or {})
        for comment in ticket.comments:
            assert comment.body
            assert comment.author
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", comment.at)


def test_comments_are_in_order_and_after_the_ticket() -> None:
    for ticket in TICKETS:
        times = [ticket["created_at"], *(comment["at"] for comment in ticket["comments"])]
        assert times == sorted(times), ticket["id"]


def test_six_languages() -> None:
    counted = Counter(ticket["language"] for ticket in TICKETS)
    assert set(counted) == {"en", "de", "fr", "es", "ja", "ar"}
    assert min(counted.values()) >= 8
    assert counted["en"] > 100


def test_one_is_very_long_and_one_nearly_empty() -> None:
    lengths = sorted(len(render(Ticket.model_validate(ticket))) for ticket in TICKETS)
    assert 60_000 < lengths[-1] < 100_000
    assert lengths[-2] < 10_000
    assert any(ticket["body"] == "help" and not ticket["comments"] for ticket in TICKETS)


def test_addresses_are_reserved_ones() -> None:
    text = sample_tickets_path().read_text(encoding="utf-8")
    domains = set(re.findall(r"(?:@|https?://)(?:[\w-]+\.)*([\w-]+\.[a-z]{2,})\b", text))
    assert domains
    assert all(re.fullmatch(r"example\.(com|org|net)|[\w-]+\.test", domain) for domain in domains), domains
    addresses = set(re.findall(r"\b\d{1,3}(?:\.\d{1,3}){3}\b", text))
    assert all(address.startswith(("192.0.2.", "198.51.100.", "203.0.113.")) for address in addresses), addresses

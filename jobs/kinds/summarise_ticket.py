"""Kind ``summarise_ticket``: a support ticket with its thread becomes a short structured summary."""

from functools import cache
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from config.resources import text_of
from jobs.chat import ChatRequest, Message
from jobs.kind import Kind


class Comment(BaseModel):
    """One message of the thread; unknown fields are kept."""

    model_config = ConfigDict(extra="allow", hide_input_in_errors=True)

    author: str = ""
    at: str = ""
    body: str


class Ticket(BaseModel):
    """A ticket as a help desk exports it; unknown fields are kept."""

    model_config = ConfigDict(extra="allow", hide_input_in_errors=True)

    id: str | int
    subject: str
    body: str
    comments: tuple[Comment, ...] = ()


class TicketSummary(BaseModel):
    """What an agent wants to know before opening the ticket."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    title: Annotated[str, Field(description="The problem in one line, at most 100 characters")]
    summary: Annotated[str, Field(description="Two to four sentences: what happened, what was tried, what is open")]
    sentiment: Annotated[
        Literal["negative", "neutral", "positive"], Field(description="The customer's mood in the latest message")
    ]
    priority: Annotated[Literal["low", "normal", "high", "urgent"], Field(description="How soon somebody should act")]
    action_items: Annotated[list[str], Field(description="What remains to be done, one short line each; may be empty")]


@cache
def _schema() -> dict[str, Any]:
    """Made once: pydantic takes longer for it than a call takes for all the rest."""
    return TicketSummary.model_json_schema()


def render(ticket: Ticket) -> str:
    """The ticket as the model reads it: header, body, thread in order."""
    parts = [f"Ticket {ticket.id}", f"Subject: {ticket.subject}", "", ticket.body]
    if ticket.comments:
        parts += ["", "Comments:"]
    for comment in ticket.comments:
        head = ", ".join(part for part in (comment.at, comment.author) if part)
        parts += [f"[{head}]" if head else "[comment]", comment.body, ""]
    return "\n".join(parts).rstrip() + "\n"


def request(ticket: Ticket) -> ChatRequest:
    """The request for one ticket."""
    return ChatRequest(
        messages=(
            Message("system", text_of("jobs", "kinds/summarise_ticket.md")),
            Message("user", render(ticket)),
        ),
        max_output_tokens=1024,
        temperature=0.0,
        json_schema=_schema(),
        schema_name="ticket_summary",
    )


KIND = Kind("summarise_ticket", Ticket, TicketSummary, request)

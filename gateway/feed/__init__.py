"""From an entry's events to the clients: channels, who listens to them, and what each is sent."""

from gateway.feed.feed import Feed

__all__ = ["Feed"]

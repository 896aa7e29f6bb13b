"""Publish the events of each entry: channels, their subscriptions, and what each is sent."""

from gateway.feed.feed import Feed

__all__ = ["Feed"]

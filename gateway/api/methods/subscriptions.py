"""Subscribing to channels and unsubscribing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from msgspec import Meta

from gateway.api.context import Call
from gateway.api.registry import NoParams, Params, channel_method
from gateway.feed.channel_names import Channel, parse
from gateway.protocol.errors import ApiError, Code, invalid

# The API's limit for one call. The limit per connection is a setting.
Channels = Annotated[list[str], Meta(max_length=500)]


class ChannelParams(Params, frozen=True):
    """Parameters of methods that take channels."""

    channels: Channels


@channel_method("public/subscribe", params=ChannelParams)
def subscribe_public(call: Call, params: ChannelParams) -> object:
    """Subscribe to public channels; the result lists the subscribed channels."""
    return _subscribe(call, params.channels, private=False)


@channel_method("private/subscribe", params=ChannelParams)
def subscribe_private(call: Call, params: ChannelParams) -> object:
    """Subscribe to channels that the login's scope allows."""
    return _subscribe(call, params.channels, private=True)


@channel_method("public/unsubscribe", params=ChannelParams)
def unsubscribe_public(call: Call, params: ChannelParams) -> object:
    """Unsubscribe; the result lists the channels that were subscribed."""
    return _unsubscribe(call, params.channels)


@channel_method("private/unsubscribe", params=ChannelParams)
def unsubscribe_private(call: Call, params: ChannelParams) -> object:
    """Unsubscribe; the result lists the channels that were subscribed."""
    return _unsubscribe(call, params.channels)


@channel_method("public/unsubscribe_all", params=NoParams)
def unsubscribe_all_public(call: Call, params: NoParams) -> object:  # noqa: ARG001
    """Unsubscribe from every public channel."""
    names = call.venue.feed.subscribed(call.session.sink)
    _unsubscribe(call, [name for name in names if not _is_private(name)])
    return "ok"


@channel_method("private/unsubscribe_all", params=NoParams)
def unsubscribe_all_private(call: Call, params: NoParams) -> object:  # noqa: ARG001
    """Unsubscribe from every channel."""
    call.venue.feed.unsubscribe_all(call.session.sink)
    return "ok"


def _subscribe(call: Call, names: Iterable[str], *, private: bool) -> list[str]:
    """Subscribe to known and allowed channels; as in the API, the result leaves out the others.

    Channels that do not exist are counted.

    Raises ApiError: 13778 for raw public data without a login, -32602 for too many channels.
    """
    accepted: dict[str, None] = {}
    unknown_channels = []
    for name in names:
        channel = parse(name)
        if channel is None:
            unknown_channels.append(name)
            continue
        if channel.needs_login and call.login is None:
            raise ApiError(Code.RAW_SUBSCRIPTIONS_NOT_AVAILABLE_FOR_UNAUTHORIZED)
        if channel.scope is None or (private and _may_subscribe(call, channel)):
            accepted[name] = None
    if unknown_channels:
        call.venue.unknown_channels.note(unknown_channels, call.venue.limits.now())
    feed, sink, login = call.venue.feed, call.session.sink, call.login
    limit = call.venue.config.limits.subscriptions_per_connection
    if len(accepted.keys() | feed.subscribed(sink)) > limit:
        raise invalid("channels", f"more than {limit} channels on one connection")
    if login is None:
        return feed.subscribe(sink, None, accepted)
    return feed.subscribe(sink, call.account, accepted, login, own=login == call.session.login)


def _may_subscribe(call: Call, channel: Channel) -> bool:
    return (
        call.login is not None
        and channel.scope is not None
        and call.login.scope.allows(channel.scope)
    )


def _unsubscribe(call: Call, names: Iterable[str]) -> list[str]:
    return call.venue.feed.unsubscribe(call.session.sink, names)


def _is_private(name: str) -> bool:
    channel = parse(name)
    return channel is not None and channel.scope is not None

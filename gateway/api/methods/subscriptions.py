"""Subscribing to channels and unsubscribing from them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from msgspec import Meta

from gateway.api.context import Call
from gateway.api.registry import NoParams, Params, channel_method
from gateway.feed.channel_names import Channel, parse
from gateway.protocol.errors import ApiError, Code, invalid

# The API's number for one call; how many a connection may have in all is a setting.
Channels = Annotated[list[str], Meta(max_length=500)]


class ChannelParams(Params, frozen=True):
    """Parameters of all methods that take channels."""

    channels: Channels


@channel_method("public/subscribe", params=ChannelParams)
def subscribe_public(call: Call, params: ChannelParams) -> object:
    """Subscribe to public channels; the result is what was subscribed to."""
    return _subscribe(call, params.channels, private=False)


@channel_method("private/subscribe", params=ChannelParams)
def subscribe_private(call: Call, params: ChannelParams) -> object:
    """Subscribe to any channels for which the log-in's scope is enough."""
    return _subscribe(call, params.channels, private=True)


@channel_method("public/unsubscribe", params=ChannelParams)
def unsubscribe_public(call: Call, params: ChannelParams) -> object:
    """Unsubscribe; the result is what had been subscribed to."""
    return _unsubscribe(call, params.channels)


@channel_method("private/unsubscribe", params=ChannelParams)
def unsubscribe_private(call: Call, params: ChannelParams) -> object:
    """Unsubscribe; the result is what had been subscribed to."""
    return _unsubscribe(call, params.channels)


@channel_method("public/unsubscribe_all", params=NoParams)
def unsubscribe_all_public(call: Call, params: NoParams) -> object:  # noqa: ARG001
    """Unsubscribe from every public channel."""
    held = call.venue.feed.subscribed(call.session.sink)
    _unsubscribe(call, [name for name in held if not _is_private(name)])
    return "ok"


@channel_method("private/unsubscribe_all", params=NoParams)
def unsubscribe_all_private(call: Call, params: NoParams) -> object:  # noqa: ARG001
    """Unsubscribe from every channel."""
    call.venue.feed.unsubscribe_all(call.session.sink)
    return "ok"


def _subscribe(call: Call, names: Iterable[str], *, private: bool) -> list[str]:
    """Subscribe to what is known and allowed; the rest is left out of the result, as the API does.

    What no client could have had is counted.

    Raises ApiError: 13778 for raw public data without a log-in, -32602 for too many channels.
    """
    wanted: dict[str, None] = {}
    unknown_channels = []
    for name in names:
        channel = parse(name)
        if channel is None:
            unknown_channels.append(name)
            continue
        if channel.needs_login and call.login is None:
            raise ApiError(Code.RAW_SUBSCRIPTIONS_NOT_AVAILABLE_FOR_UNAUTHORIZED)
        if channel.scope is None or (private and _may_listen(call, channel)):
            wanted[name] = None
    if unknown_channels:
        call.venue.unknown_channels.note(unknown_channels, call.venue.limits.now())
    feed, sink, login = call.venue.feed, call.session.sink, call.login
    most = call.venue.config.limits.subscriptions_per_connection
    if len(wanted.keys() | feed.subscribed(sink)) > most:
        raise invalid("channels", f"more than {most} channels on one connection")
    if login is None:
        return feed.subscribe(sink, None, wanted)
    return feed.subscribe(sink, call.account, wanted, login, own=login == call.session.login)


def _may_listen(call: Call, channel: Channel) -> bool:
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

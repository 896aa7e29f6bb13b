"""What is written down: every command as one type, by which a record is told from its bytes."""

from __future__ import annotations

from risk.commands import (
    Cancel,
    CancelAll,
    Checkpoint,
    ClosePosition,
    Continue,
    Deposit,
    Edit,
    EndSession,
    EndSessions,
    Liquidate,
    OpenAccount,
    Place,
    SetCancelOnDisconnect,
    SetParameters,
    SetProduct,
    SetSelfTrading,
    Skip,
    StartSession,
    Tick,
    Withdraw,
)

AnyCommand = (
    Place
    | Edit
    | Cancel
    | CancelAll
    | ClosePosition
    | StartSession
    | EndSession
    | EndSessions
    | SetCancelOnDisconnect
    | OpenAccount
    | Deposit
    | Withdraw
    | SetSelfTrading
    | SetProduct
    | SetParameters
    | Tick
    | Liquidate
    | Continue
    | Checkpoint
    | Skip
)
"""Every kind of command. The tag in its record says which."""

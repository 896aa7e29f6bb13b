"""The venue's history: trades, closed orders, settlements and rolling statistics."""

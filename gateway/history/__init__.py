"""What has happened: trades, closed orders, settlements and rolling statistics."""

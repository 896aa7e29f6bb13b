"""`tidegate demo`: a venue with people on it, who quote, trade, gamble and are liquidated."""

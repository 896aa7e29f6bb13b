"""`tidegate demo`: a venue with bots that quote, trade with leverage and are liquidated."""

"""What a program imports from an installed Tidegate.

`tidegate.client` is a Trio client of the API. `tidegate.embed()` runs a venue in the caller's
process. Neither imports the venue's own packages before `embed` is called, so a program may have
modules named `book`, `risk` or `gateway` of its own.
"""

from tidegate.embedding import Embedded, embed

__all__ = ["Embedded", "embed"]

"""Settings of the tests of packages."""

from __future__ import annotations

import hypothesis

# no folder of examples next to the sources, and no deadline: a busy machine can be slow
hypothesis.settings.register_profile("imq", database=None, deadline=None)
hypothesis.settings.load_profile("imq")

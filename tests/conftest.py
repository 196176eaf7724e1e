"""Property tests try the same examples each time, so that a change that did no harm does not fail.

`pytest --hypothesis-profile=search` looks for new ones.
"""

from hypothesis import settings

# No deadline: a machine that is busy makes no example wrong.
settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.register_profile("search", deadline=None, max_examples=1000)
settings.load_profile("repeatable")

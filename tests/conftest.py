"""What holds for all tests."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# No deadline: the first example of a test may compile a kernel.
settings.register_profile(
    "ihomer", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("ihomer")

"""The site that the tests of the nightly job share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fake_endpoint import fake_endpoint
from tests.nightly.site import Site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A site on a local folder, and its endpoint."""
    with fake_endpoint() as endpoint:
        yield Site(tmp_path, str(tmp_path / "workspace"), endpoint)

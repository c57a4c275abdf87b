"""A site with one published night, made once; each test has a copy of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from dualrec.nightly.nightly import nightly
from tests.fake_endpoint import fake_endpoint
from tests.nightly.site import FIRST, Site


@pytest.fixture(scope="session")
def published_site(tmp_path_factory: pytest.TempPathFactory, ray_cluster: str) -> Iterator[Site]:
    """A site whose first night was published. Not to be changed: see `site`."""
    folder = tmp_path_factory.mktemp("site")
    with fake_endpoint() as endpoint:
        site = Site(folder, str(folder / "workspace"), endpoint, ray_cluster)
        nightly(site.settings_of(FIRST))
        assert sum(site.asked().values()) == len(site.lengths) + 5, (
            "each user and each calibration user once"
        )
        yield site


@pytest.fixture
def site(published_site: Site, tmp_path: Path) -> Site:
    """A copy of that site in a local folder."""
    return published_site.copied(str(tmp_path / "workspace"))

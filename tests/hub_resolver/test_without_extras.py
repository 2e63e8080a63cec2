"""Where an extra is not installed: one clear sentence, when the resolver is made and not before.

tools/isolation.py runs this once more where the extras really are not there.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

import hub_resolver
from hub_api import IHub


@pytest.mark.parametrize(
    ("name", "needs", "extra"), [("AresResolver", "pycares", "ares"), ("DnspythonResolver", "dns", "dnspython")]
)
def test_a_missing_extra_is_one_sentence_that_names_what_to_install(
    hub: IHub, monkeypatch: pytest.MonkeyPatch, name: str, needs: str, extra: str
) -> None:
    for module in [module for module in sys.modules if module.partition(".")[0] == needs]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, needs, None)
    maker = getattr(hub_resolver, name)
    with pytest.raises(ModuleNotFoundError) as caught:
        maker(hub)
    assert f"{name} needs" in str(caught.value)
    assert str(caught.value).endswith(f"which is not installed: pip install 'hub-resolver[{extra}]'")
    assert "\n" not in str(caught.value)


def test_importing_the_package_imports_no_extra_and_no_resolver_that_needs_one() -> None:
    code = "import sys, hub_resolver; print(sorted({'pycares', 'dns', 'hub_resolver._lookups'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout == "[]\n"


def test_every_public_name_is_there() -> None:
    for name in hub_resolver.__all__:
        assert getattr(hub_resolver, name) is not None
    assert set(hub_resolver.__all__) <= set(dir(hub_resolver))
    with pytest.raises(AttributeError, match="module 'hub_resolver' has no attribute 'CurlResolver'"):
        _ = getattr(hub_resolver, "CurlResolver")  # noqa: B009  # written out, the type checker would refuse it
